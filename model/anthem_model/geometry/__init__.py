"""The geometry in torch, the twin of `anthem_core.geometry`."""
