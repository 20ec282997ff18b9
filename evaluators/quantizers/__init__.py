"""Quantizers: integer grids for activations, the residual stream and weights."""

from bitfront.evaluators.quantizers.affine import AffineGrid
from bitfront.evaluators.quantizers.power_of_two import PowerOfTwoGrid, PowerOfTwoSearch
from bitfront.evaluators.quantizers.quantized_weight import QuantizedWeight
from bitfront.evaluators.quantizers.weights import WEIGHT_RANGES, quantize_weight

__all__ = [
    "WEIGHT_RANGES",
    "AffineGrid",
    "PowerOfTwoGrid",
    "PowerOfTwoSearch",
    "QuantizedWeight",
    "quantize_weight",
]
