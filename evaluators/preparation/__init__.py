"""What is done once for a model: recipes, calibration, equalization, layer fits, and keeping them."""
