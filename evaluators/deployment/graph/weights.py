"""Weights of a graph: 8-bit codes, or 4-bit codes two to a byte that a runtime turns into 8 bits at load."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.quantizers import QuantizedWeight
from bitfront.evaluators.quantizers.quantized_weight import GROUP, largest_factor

# The narrowest integers that ONNX and both runtimes store.
PACKED_BITS = 4


def dequantized_weight(writer: GraphWriter, weight: QuantizedWeight, name: str) -> str:
    """The float weight ``[in, out]`` of its codes.

    Everything before the last node is constant: a runtime computes it once, when it loads the file, and runs
    its 8-bit kernels on the result.
    """
    stored = f"{name}.weight"
    if weight.factors is not None:
        integers = _grouped(writer, weight, weight.factors, stored)
    elif weight.bits <= PACKED_BITS:
        packed = writer.constant(_transposed(weight.codes).astype(ml_dtypes.int4), stored)
        integers = writer.op("Cast", packed, to=TensorProto.INT8)
    else:
        integers = writer.constant(np.ascontiguousarray(_transposed(weight.codes)), stored)
    scales = writer.constant(weight.scales.cpu().numpy())
    zeros = writer.constant(np.zeros(len(weight.scales), np.int8))
    return writer.op("DequantizeLinear", integers, scales, zeros, axis=1)


def _transposed(values: torch.Tensor) -> NDArray[Any]:
    found: NDArray[Any] = values.cpu().numpy().T
    return found


def _grouped(writer: GraphWriter, weight: QuantizedWeight, factors: torch.Tensor, stored: str) -> str:
    """8-bit integers ``[in, out]`` of narrow codes times the factor of each group of inputs.

    Args:
        writer: Of the graph.
        weight: Whose codes are these products.
        factors: Of its groups, ``[out, groups]``.
        stored: What the narrow codes are called.
    """
    outputs, inputs = weight.codes.shape
    groups = factors.shape[1]
    narrow = _transposed(weight.narrow_codes)
    padded = np.pad(narrow, ((0, groups * GROUP - inputs), (0, 0))).reshape(groups, GROUP, outputs)
    less_one = _transposed(factors).reshape(groups, 1, outputs) - np.uint8(1)
    # The largest unsigned integer of 4 bits is 15; narrower weights have larger factors.
    fits = largest_factor(weight.bits) <= 1 << PACKED_BITS
    code = _wide(writer, padded.astype(ml_dtypes.int4) if weight.bits <= PACKED_BITS else padded, stored)
    stored_factor = _wide(writer, less_one.astype(ml_dtypes.uint4) if fits else less_one)
    factor = writer.op("Add", stored_factor, _int32(writer, 1))
    product = writer.reshape(writer.op("Mul", code, factor), groups * GROUP, outputs)
    if groups * GROUP != inputs:
        product = writer.op("Slice", product, writer.integers(0), writer.integers(inputs), writer.integers(0))
    return writer.op("Cast", product, to=TensorProto.INT8)


def _wide(writer: GraphWriter, values: NDArray[Any], name: str | None = None) -> str:
    """Stored integers as int32, which every runtime multiplies."""
    return writer.op("Cast", writer.constant(values, name), to=TensorProto.INT32)


def _int32(writer: GraphWriter, value: int) -> str:
    return writer.constant(np.array(value, np.int32))
