"""One search of a client, from the request to the reranked response."""
