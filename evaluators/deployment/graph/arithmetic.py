"""The two arithmetics of a graph: in float32, the baseline of latencies, and in integers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from bitfront.evaluators.deployment.graph.byte_layout import SIGNED, WIDEST, ByteLayout, byte
from bitfront.evaluators.deployment.graph.float_stages import write_norm
from bitfront.evaluators.deployment.graph.operands import Dialect, Heads, Moves, Operand
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.parts import LinearParts, NormParts
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.preparation.log_base import LOG_BITS
from bitfront.evaluators.quantized.kernels.attention_terms import UNIT
from bitfront.evaluators.quantized.kernels.linear import integer_bias
from bitfront.evaluators.quantizers.floats import FloatWeight
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.minifloats import SPREAD, MinifloatGrid
from bitfront.evaluators.quantizers.weights import GROUP, HeldWeight, QuantizedWeight, largest_factor
from bitfront.spaces import FormatName
from bitfront.spaces.precision import MAX_BITS

# The narrowest integers that ONNX and both runtimes store.
PACKED_BITS = 4
# Types of float formats.
_STORED: Mapping[str, Any] = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
_NARROW = {"bf16": TensorProto.BFLOAT16, "fp16": TensorProto.FLOAT16}


def dequantized_weight(writer: GraphWriter, weight: QuantizedWeight, name: str) -> str:
    """The float weight ``[in, out]`` of its codes.

    Everything before the last node is constant: a runtime computes it once, when it loads the file, and runs
    its 8-bit kernels on the result. Zero points are taken off where what is left fits 8 bits; where it does
    not, as of 8-bit codes, they are left to the product (:meth:`IntegerArithmetic.linear`).
    """
    integers = integer_weight(writer, weight, name)
    scales = writer.constant(weight.scales.cpu().numpy())
    zeros = writer.constant(np.zeros(len(weight.scales), np.int8))
    return writer.op("DequantizeLinear", integers, scales, zeros, axis=1)


def float_weight(writer: GraphWriter, weight: HeldWeight, name: str) -> str:
    """A weight ``[in, out]`` in float32, stored in its format, for a product of floats.

    Its integers are multiplied by their scales in so many words: of a ``DequantizeLinear`` before such a
    product ONNX Runtime makes one that rounds the other operand to 8 bits of its own.
    """
    if isinstance(weight, QuantizedWeight):
        values = writer.op("Cast", integer_weight(writer, weight, name), to=TensorProto.FLOAT)
        if weight.zeros is not None and weight.bits == MAX_BITS:
            values = writer.op("Sub", values, writer.constant(weight.zeros.float().cpu().numpy()))
        return writer.op("Mul", values, writer.constant(weight.scales.cpu().numpy()))
    kind = _STORED[weight.format]
    numbers = np.ascontiguousarray(_transposed(weight.values).astype(kind))
    stored = writer.constant(numbers, f"{name}.weight")
    return stored if kind is np.float32 else writer.op("Cast", stored, to=TensorProto.FLOAT)


def integer_weight(writer: GraphWriter, weight: QuantizedWeight, name: str) -> str:
    """The codes of a weight as kernels multiply them, int8 ``[in, out]``, stored as narrow as ONNX can."""
    stored = f"{name}.weight"
    if weight.factors is not None:
        return _grouped(writer, weight, weight.factors, stored)
    if weight.zeros is not None and weight.bits < MAX_BITS:
        zeros = writer.constant(weight.zeros.to(torch.int32).cpu().numpy())
        codes = _wide(writer, _stored_codes(weight), stored)
        return writer.op("Cast", writer.op("Sub", codes, zeros), to=TensorProto.INT8)
    if weight.bits <= PACKED_BITS:
        return writer.op("Cast", writer.constant(_stored_codes(weight), stored), to=TensorProto.INT8)
    return writer.constant(np.ascontiguousarray(_transposed(weight.codes)), stored)


def _stored_codes(weight: QuantizedWeight) -> NDArray[Any]:
    """Codes ``[in, out]`` in the narrowest type that holds them."""
    codes = np.ascontiguousarray(_transposed(weight.codes))
    return codes.astype(ml_dtypes.int4) if weight.bits <= PACKED_BITS else codes


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
    factor = writer.op("Add", stored_factor, writer.constant(np.array(1, np.int32)))
    product = writer.reshape(writer.op("Mul", code, factor), groups * GROUP, outputs)
    if groups * GROUP != inputs:
        product = writer.op("Slice", product, writer.integers(0), writer.integers(inputs), writer.integers(0))
    return writer.op("Cast", product, to=TensorProto.INT8)


def _wide(writer: GraphWriter, values: NDArray[Any], name: str | None = None) -> str:
    """Stored integers as int32, which every runtime multiplies."""
    return writer.op("Cast", writer.constant(values, name), to=TensorProto.INT32)


@dataclass(frozen=True, eq=False)
class FloatArithmetic:
    """Tensors as they are; see :class:`Arithmetic`."""

    writer: GraphWriter

    def norm(self, x: str, parts: NormParts, site: str) -> Operand:  # noqa: ARG002
        """See :class:`Arithmetic`."""
        return Operand(write_norm(self.writer, x, parts))

    def quantized(self, x: str, site: str, moves: Moves | None = None) -> Operand:  # noqa: ARG002
        """See :class:`Arithmetic`: only moved."""
        return Operand(x if moves is None else moves(x))

    def linear(self, x: Operand, layer: str, parts: LinearParts) -> str:
        """See :class:`Arithmetic`."""
        weight = self.writer.constant(parts.weight.T.contiguous().cpu().numpy(), f"{layer}.weight")
        product = self.writer.op("MatMul", x.name, weight)
        return self.writer.op("Add", product, self.writer.constant(parts.bias.cpu().numpy()))

    def operands(self, qkv: str, site: str, heads: Heads) -> list[str]:  # noqa: ARG002
        """See :class:`Arithmetic`."""
        if not heads.encoder.alters_operands:
            return heads.together(heads.side_by_side(qkv))
        return [heads.apart(heads.altered(part, i), i) for i, part in enumerate(heads.parts(qkv))]

    def attention(self, probability: str, site: str, index: int) -> str:  # noqa: ARG002
        """See :class:`Arithmetic`: as it is."""
        return probability


@dataclass(frozen=True, eq=False)
class IntegerArithmetic:
    """Tensors as their codes stand for them; see :class:`Arithmetic`.

    Those in a float format are rounded to it where the runtime lets itself be told so.

    Attributes:
        writer: Of the graph.
        dialect: What the runtime wants to see.
        bits: Format of every activation and attention site.
        grids: Grids of the sites of integers.
        codebooks: The level of each code, uint8 ``[256]``, of the sites that have a codebook.
        layers: The linear layers by name.
        log_steps: Binary logarithm of the base of 4-bit attention codes by encoder.
    """

    writer: GraphWriter
    dialect: Dialect
    bits: Mapping[str, FormatName]
    grids: Mapping[str, AffineGrid]
    codebooks: Mapping[str, torch.Tensor]
    layers: Mapping[str, FittedLayer]
    log_steps: Mapping[int, float]

    def norm(self, x: str, parts: NormParts, site: str) -> Operand:
        """See :class:`Arithmetic`; the zero point is folded into the norm's bias."""
        grid = self.grids.get(site)
        if grid is None:
            return Operand(self._rounded(write_norm(self.writer, x, parts), site))
        offset = grid.zero_point * grid.scale
        value = write_norm(self.writer, x, parts, offset)
        codes = self._codes(value, site, ByteLayout.of(grid, 0))
        return Operand(self._values(codes, grid.scale, 0), grid.scale, offset)

    def quantized(self, x: str, site: str, moves: Moves | None = None) -> Operand:
        """See :class:`Arithmetic`; codes are moved, which are smaller than floats."""
        grid = self.grids.get(site)
        if grid is None:
            rounded = self._rounded(x, site)
            return Operand(rounded if moves is None else moves(rounded))
        codes = self._codes(x, site, ByteLayout.of(grid, grid.zero_point))
        moved = codes if moves is None else moves(codes)
        return Operand(self._values(moved, grid.scale, grid.zero_point), grid.scale)

    def linear(self, x: Operand, layer: str, parts: LinearParts) -> str:  # noqa: ARG002 - the float layer
        """See :class:`Arithmetic`.

        The bias has the three axes of the product: ONNX Runtime would make a float Gemm of a flat one.
        """
        fitted = self.layers[layer]
        weight, bias = fitted.weight, fitted.bias
        if isinstance(weight, FloatWeight) or x.scale is None:
            held = float_weight(self.writer, weight, layer)
        else:
            held = dequantized_weight(self.writer, weight, layer)
            bias = integer_bias(bias, weight.scales, x.scale)
        bias = bias.double() - x.offset * weight.sums()
        product = self.writer.op("MatMul", x.name, held)
        if x.scale is not None and isinstance(weight, QuantizedWeight) and weight.zeros is not None:
            product = self._moved(product, x, weight)
        return self.writer.op("Add", product, self.writer.constant(bias.float().view(1, 1, -1).cpu().numpy()))

    def _moved(self, product: str, x: Operand, weight: QuantizedWeight) -> str:
        """The product of 8-bit codes less that of their zero points, which is the inputs' sum times these.

        The sum is a product with ones: of a ``ReduceSum`` of codes OpenVINO makes one that overflows.
        """
        if weight.bits < MAX_BITS:
            return product
        assert weight.zeros is not None, "there is something to take off"
        writer, inputs = self.writer, weight.codes.shape[1]
        ones = writer.constant(np.ones((inputs, 1), np.int8))
        column = writer.op(
            "DequantizeLinear", ones, writer.constant(1.0), writer.constant(byte(SIGNED, signed=True))
        )
        sums = writer.op("MatMul", x.name, column)
        steps = weight.zeros.double() * weight.scales.double()
        row = writer.constant(steps.float().view(1, 1, -1).cpu().numpy())
        return writer.op("Sub", product, writer.op("Mul", sums, row))

    def operands(self, qkv: str, site: str, heads: Heads) -> list[str]:
        """See :class:`Arithmetic`."""
        grid = self.grids.get(site)
        if grid is None or not self.dialect.operands_apart:
            return heads.together(self._centred(heads.side_by_side(qkv), site))
        layout = ByteLayout.centred(grid)
        if grid.qmax < WIDEST and not heads.encoder.alters_operands:
            # Operators on codes of keys and values together are fewer.
            queries, rest = heads.queries_apart(heads.side_by_side(qkv))
            keys_and_values = heads.keys_apart(self._codes(rest, site, layout, signed=True))
            parts: Iterable[str] = [self._codes(queries, site, layout), *keys_and_values]
        else:
            parts = (
                self._codes(heads.altered(part, number), site, layout, signed=number > 0)
                for number, part in enumerate(heads.parts(qkv))
            )
        # Runtimes multiply unsigned by signed codes, the second operand being the signed one.
        return [
            self._values(heads.apart(codes, number), grid.scale, layout.zero, signed=number > 0)
            for number, codes in enumerate(parts)
        ]

    def _centred(self, qkv: str, site: str) -> str:
        """Queries, keys and values as the codes of their site stand for them, where it has some."""
        grid = self.grids.get(site)
        if grid is None:
            return self._rounded(qkv, site)
        layout = ByteLayout.centred(grid)
        return self._values(self._codes(qkv, site, layout), grid.scale, layout.zero)

    def attention(self, probability: str, site: str, index: int) -> str:
        """See :class:`Arithmetic`; logarithmic codes have no integer kernel anywhere and stay floats."""
        bits = self.bits[site]
        if not isinstance(bits, int):
            return self._rounded(probability, site)
        if bits > LOG_BITS or isinstance(self.grids[site], MinifloatGrid):
            return self.quantized(probability, site).name
        return self._logarithmic(probability, bits, self.log_steps[index] if bits == LOG_BITS else 1.0)

    def _rounded(self, x: str, site: str) -> str:
        """A tensor as the float format of its site holds it."""
        narrow = _NARROW.get(str(self.bits[site]))
        if narrow is None or not self.dialect.rounds_floats:
            return x
        return self.writer.op("Cast", self.writer.op("Cast", x, to=narrow), to=TensorProto.FLOAT)

    def _logarithmic(self, probability: str, bits: int, step: float) -> str:
        """``2^(-c step)``, to ``2^-15``, for codes ``c = round(-log2(p) / step)``; 0 beyond the last code."""
        writer = self.writer
        nats = step * math.log(2.0)
        code = writer.op("Mul", writer.op("Log", probability), writer.constant(-1.0 / nats))
        code = writer.op("Round", code)
        power = writer.op("Exp", writer.op("Mul", code, writer.constant(-nats)))
        units = writer.op("Round", writer.op("Mul", power, writer.constant(UNIT)))
        beyond = writer.op("Greater", code, writer.constant((1 << bits) - 0.5))
        kept = writer.op("Where", beyond, writer.constant(0.0), units)
        return writer.op("Mul", kept, writer.constant(1.0 / UNIT))

    def _codes(self, x: str, site: str, layout: ByteLayout, *, signed: bool = False) -> str:
        """Codes of a float tensor."""
        writer, grid, codebook = self.writer, self.grids[site], self.codebooks.get(site)
        if isinstance(grid, MinifloatGrid):
            # A runtime may well fuse the product with the sum: it is exact. Two products and their difference
            # would be quicker in ONNX Runtime, and are nothing but the value in OpenVINO, which fuses them.
            spread = writer.op("Mul", x, writer.constant(SPREAD))
            x = writer.op("Sub", writer.op("Add", spread, x), spread)
        if not self.dialect.clips_codes:
            x = layout.clipped(writer, x, grid.scale)
        zero = byte(layout.zero, signed=signed and codebook is None)
        codes = writer.op("QuantizeLinear", x, writer.constant(grid.scale), writer.constant(zero))
        if codebook is None:
            return layout.clipped_codes(writer, codes, signed=signed) if self.dialect.clips_codes else codes
        table = codebook.cpu().numpy()
        if signed:
            table = (table.astype(np.int16) - SIGNED).astype(np.int8)
        return writer.op("Gather", writer.constant(table), writer.op("Cast", codes, to=TensorProto.INT32))

    def _values(self, codes: str, scale: float, zero_point: int, *, signed: bool = False) -> str:
        zero = self.writer.constant(byte(zero_point, signed=signed))
        return self.writer.op("DequantizeLinear", codes, self.writer.constant(scale), zero)
