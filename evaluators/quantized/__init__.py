"""Quantized models: one machinery of stages, two schemes."""

from bitfront.evaluators.quantized.model import NotFiniteError, QuantizedModel
from bitfront.evaluators.quantized.prepared import PreparedModel

__all__ = ["NotFiniteError", "PreparedModel", "QuantizedModel"]
