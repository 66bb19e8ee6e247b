"""The query rewriter, pure functions: search body in, search body out."""
