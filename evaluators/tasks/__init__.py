"""Tasks: what a model's outputs are worth, by metrics that are data."""
