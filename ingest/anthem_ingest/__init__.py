"""Writes a model's values of products into OpenSearch indices: `anthem ingest` and `anthem remove`.

Everything that reads products, encodes them and changes an index lives here; searching lives in `anthem_plugin`.
"""
