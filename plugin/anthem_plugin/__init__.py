"""The query rewriter, the reranker, and the client that sends."""
