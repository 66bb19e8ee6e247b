"""Initial parameters in closed form: latent semantic analysis, teachers and the regressions on them."""
