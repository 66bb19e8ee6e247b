"""Rankers from the literature, for the comparison: each scores titles for queries and learns from the same lists."""
