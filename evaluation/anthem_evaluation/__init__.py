"""Measuring what reranking gains: runs, metrics, reports, the demo, and reranking of runs without a cluster."""
