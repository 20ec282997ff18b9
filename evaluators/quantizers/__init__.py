"""Quantizers: integer grids for activations, the residual stream and weights."""

from bitfront.evaluators.quantizers.affine import AffineGrid
from bitfront.evaluators.quantizers.power_of_two import PowerOfTwoGrid, PowerOfTwoSearch
from bitfront.evaluators.quantizers.weights import (
    WEIGHT_RANGES,
    WEIGHT_ROUNDINGS,
    QuantizedWeight,
    quantize_weight,
)

__all__ = [
    "WEIGHT_RANGES",
    "WEIGHT_ROUNDINGS",
    "AffineGrid",
    "PowerOfTwoGrid",
    "PowerOfTwoSearch",
    "QuantizedWeight",
    "quantize_weight",
]
