"""Quantized models: one machinery of stages, two schemes."""
