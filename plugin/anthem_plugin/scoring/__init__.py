"""Scores of products: the Painless script and its numpy twin, with the parameters they share."""
