"""The surrogate-assisted sampler: a model of what evaluations cost much to tell, and NSGA-II on it."""
