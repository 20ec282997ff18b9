"""Equalization: float-equivalent transformations that leave a model easier to quantize."""

from bitfront.evaluators.equalization.equalize import equalize

__all__ = ["equalize"]
