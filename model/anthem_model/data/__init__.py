"""Training data: prepared datasets, batches, pseudo-queries and BM25."""
