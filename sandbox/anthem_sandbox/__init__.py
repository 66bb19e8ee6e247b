"""The local OpenSearch node and the generated catalogue, for demo, tests and checks; never for production code.

Production code is front, core, plugin, ingest, doctor and model. The demo starts a node, and the export checks parity
on texts of the catalogue.
"""
