"""Training data: datasets split for training and validation, batches of lists, pseudo-queries and BM25."""
