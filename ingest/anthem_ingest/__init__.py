"""From products to vectors in an OpenSearch index."""
