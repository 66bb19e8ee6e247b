"""Scores of products, given the query: the Painless script, its numpy twin and the parameters they share."""
