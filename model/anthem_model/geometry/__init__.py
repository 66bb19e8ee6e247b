"""Hyperbolic geometry in torch: the twins of `anthem_core.geometry`, E-ANTHEM's flat space, and the use of geoopt."""
