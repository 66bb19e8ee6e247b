"""ANTHEM in torch and geoopt, and its training."""

import warnings

# geoopt 0.5.1 uses what torch 2.15 deprecates; nobody who trains can do anything about it.
warnings.filterwarnings("ignore", message=r"`torch\.jit\.script.*` is deprecated")
