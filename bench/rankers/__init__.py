"""Baseline rankers from the literature; only the comparison uses them. Each scores titles for queries."""
