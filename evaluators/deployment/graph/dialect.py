"""Dialects: how the same integers are written for the fast paths of each runtime."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dialect:
    """What a runtime's optimizer has to see to run on its integer kernels.

    Attributes:
        name: The runtime it is for.
        operands_apart: Whether queries, keys and values are quantized one by one, queries as unsigned codes,
            keys and values as signed ones of the same values.
    """

    name: str
    operands_apart: bool


# Measured on DeiT-Tiny, each file in both runtimes: OpenVINO takes 1.4 times as long where operands are
# apart, for it then leaves attention in float; ONNX Runtime 1.2 times as long where they are not.
OPENVINO = Dialect("openvino", operands_apart=False)
ONNXRUNTIME = Dialect("onnxruntime", operands_apart=True)
DIALECTS = {dialect.name: dialect for dialect in (OPENVINO, ONNXRUNTIME)}
