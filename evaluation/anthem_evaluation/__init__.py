"""Runs, qrels, metrics, significance, reports."""
