"""The ANTHEM model in torch and geoopt and everything that trains it; only the exporter and the benchmark import it."""
