"""The query rewriter, the scores, the search clients and the HTTP service."""
