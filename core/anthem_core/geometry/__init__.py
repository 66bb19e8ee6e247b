"""Geometry in numpy: points of the Lorentz model, containment in hyperboloids, and set algebra on regions."""
