"""Initial parameters in closed form: a ridge regression on vectors of texts, from a teacher or from LSA."""
