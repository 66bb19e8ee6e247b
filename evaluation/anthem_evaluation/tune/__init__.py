"""`anthem tune`: fusion weights and window chosen on judged queries, with cross-validation."""
