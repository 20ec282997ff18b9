"""Equalization: float-equivalent transformations that leave a model easier to quantize."""
