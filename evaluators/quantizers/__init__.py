"""Quantizers: integer grids for activations, the residual stream and weights."""

from bitfront.evaluators.quantizers.affine import AffineGrid
from bitfront.evaluators.quantizers.power_of_two import PowerOfTwoGrid, PowerOfTwoSearch
from bitfront.evaluators.quantizers.weights import (
    WEIGHT_RANGES,
    QuantizedWeight,
    quantize_weight,
)

__all__ = [
    "WEIGHT_RANGES",
    "AffineGrid",
    "PowerOfTwoGrid",
    "PowerOfTwoSearch",
    "QuantizedWeight",
    "quantize_weight",
]
