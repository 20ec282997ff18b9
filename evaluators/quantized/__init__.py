"""Quantized models: one machinery of stages, two schemes."""

from bitfront.evaluators.quantized.model import QuantizedModel
from bitfront.evaluators.quantized.prepared import PreparedModel

__all__ = ["PreparedModel", "QuantizedModel"]
