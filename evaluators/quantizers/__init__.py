"""Quantizers: integer grids for activations, the residual stream and weights, and their observers."""
