"""The base of all other packages: geometry, encoding, access to OpenSearch, fusion, BEIR data, errors, the console."""
