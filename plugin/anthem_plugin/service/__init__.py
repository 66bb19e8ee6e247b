"""The HTTP service: each module defines one group of endpoints in a function `routes`, which `app` includes."""
