"""Judgments from clicks that are logged as OpenSearch's User Behavior Insights (UBI) defines them."""
