"""Baseline rankers; only the comparison uses them. Each scores titles for queries.

They read texts by version 1 of the text rules, whatever a bundle uses, so that their measurements stay valid.
"""
