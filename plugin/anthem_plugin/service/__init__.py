"""The HTTP service: one module per group of endpoints, each with a function `routes` that `app` puts together."""
