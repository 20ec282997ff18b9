"""The stages of scheme ``fq-vit`` as plain ONNX operators, equal to the evaluator's kernels to the bit.

Between stages there are codes, uint8. Within one, integers are float64: ONNX Runtime has no operators on
integers for most of what is computed, and integers stay below 2^53, so that nothing is rounded that the
kernels do not round. Requantizing a linear layer's sums is float32, each operation in the kernels' order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from onnx import TensorProto

from bitfront.evaluators.deployment.graph.arithmetic import integer_weight
from bitfront.evaluators.deployment.graph.step_function import StepTable
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.integer_stages import IntegerAverage
from bitfront.evaluators.quantized.kernels.attention_terms import ONE_BIT
from bitfront.evaluators.quantized.kernels.layer_norm import FINEST_STEP, MULTIPLIER_MAX
from bitfront.evaluators.quantized.kernels.linear import integer_bias, output_factors
from bitfront.evaluators.quantized.kernels.norm_terms import IntegerNormTerms, SumTerms
from bitfront.evaluators.quantizers.grids import AffineGrid, single


@dataclass(frozen=True, eq=False)
class IntegerOperators:
    """Writes stages; codes, sums and the like go by the names of their sites and layers.

    Attributes:
        writer: Of the graph.
    """

    writer: GraphWriter

    def double(self, values: ArrayLike) -> str:
        """The name of a float64 constant."""
        return self.writer.constant(np.asarray(values, np.float64))

    def centred(self, codes: str, zero_point: int) -> str:
        """Codes less their zero point, float64."""
        wide = self.writer.op("Cast", codes, to=TensorProto.DOUBLE)
        return self.writer.op("Sub", wide, self.double(zero_point)) if zero_point else wide

    def rounded(self, value: str, zero_point: int, qmax: int, site: str | None = None) -> str:
        """Codes ``clip(round(value) + zero_point, 0, qmax)`` of float64 values in output steps."""
        whole = self.writer.op("Round", value)
        if zero_point:
            whole = self.writer.op("Add", whole, self.double(zero_point))
        return self.clipped(whole, self.double(0), self.double(qmax), site)

    def clipped(self, value: str, least: str, most: str, site: str | None = None) -> str:
        """Whole numbers as codes within bounds."""
        writer = self.writer
        return writer.op("Cast", writer.op("Clip", value, least, most), to=TensorProto.UINT8, output=site)

    def looked_up(self, codes: str, codebook: torch.Tensor | None, site: str) -> str:
        """The levels of codes where the site has a codebook."""
        if codebook is None:
            return self.writer.op("Identity", codes, output=site)
        table = self.writer.constant(codebook.cpu().numpy())
        return self.writer.op(
            "Gather", table, self.writer.op("Cast", codes, to=TensorProto.INT32), output=site
        )

    def quantized(self, x: str, grid: AffineGrid, site: str) -> str:
        """Codes of float32 values, as :meth:`AffineGrid.quantize` has them."""
        writer = self.writer
        whole = writer.op("Round", writer.op("Div", x, writer.constant(grid.scale)))
        whole = writer.op("Add", whole, writer.constant(float(grid.zero_point)))
        return self.clipped(whole, writer.constant(0.0), writer.constant(float(grid.qmax)), site)

    def linear(self, codes: str, grid: AffineGrid, layer: FittedLayer, name: str) -> str:
        """A linear layer's float32 values, of the integer sums that go by ``<name>.sums``."""
        writer, scales = self.writer, layer.quantized.scales
        weight = writer.op("Cast", integer_weight(writer, layer.quantized, name), to=TensorProto.DOUBLE)
        sums = writer.op("MatMul", self.centred(codes, grid.zero_point), weight, output=f"{name}.sums")
        factors = output_factors(scales, grid.scale).cpu().numpy()
        bias = integer_bias(layer.bias, scales, grid.scale).cpu().numpy()
        value = writer.op("Mul", writer.op("Cast", sums, to=TensorProto.FLOAT), writer.constant(factors))
        return writer.op("Add", value, writer.constant(bias))

    def requantized(self, value: str, out: AffineGrid, site: str | None = None) -> str:
        """Codes of float32 values, as :func:`requantize` has them."""
        writer = self.writer
        value = writer.op("Mul", value, writer.constant(single(1.0 / out.scale)))
        value = writer.op("Round", writer.op("Add", value, writer.constant(float(out.zero_point))))
        return self.clipped(value, writer.constant(0.0), writer.constant(float(out.qmax)), site)

    def stepped(self, value: str, table: StepTable, site: str) -> str:
        """Codes of float32 values by a table; see :class:`StepTable`."""
        writer = self.writer
        low, high = writer.constant(table.bins.low), writer.constant(table.bins.high)
        within = writer.op("Sub", writer.op("Clip", value, low, high), low)
        place = writer.op("Floor", writer.op("Mul", within, writer.constant(table.bins.per_unit)))
        place = writer.op("Cast", place, to=TensorProto.INT32)
        start, inverse, last, offset = (
            writer.op("Gather", writer.constant(values), place)
            for values in (table.start, table.inverse, table.last, table.offset)
        )
        entry = writer.op("Mul", writer.op("Sub", value, start), inverse)
        entry = writer.op("Min", writer.op("Max", entry, writer.constant(0.0)), last)
        entry = writer.op("Cast", writer.op("Add", entry, offset), to=TensorProto.INT32)
        return writer.op("Gather", writer.constant(table.codes), entry, output=site)

    def added(self, x: str, y: str, terms: SumTerms, site: str) -> str:
        """Codes of the sum of two tensors of codes."""
        writer = self.writer
        left, right = (
            writer.op("Mul", self.centred(codes, zero), self.double(factor.cpu().numpy()))
            for codes, zero, factor in ((x, terms.x_zero, terms.x_factor), (y, terms.y_zero, terms.y_factor))
        )
        return self.rounded(writer.op("Add", left, right), terms.zero, terms.qmax, site)

    def averaged(self, codes: str, average: IntegerAverage, site: str) -> str:
        """Codes of the average over the tokens that count, ``[batch, 1, channels]``."""
        writer = self.writer
        if average.first:
            last = writer.integers(np.iinfo(np.int64).max)
            codes = writer.op("Slice", codes, writer.integers(average.first), last, writer.integers(1))
        total = self._sum(self.centred(codes, average.source.zero_point), 1)
        value = writer.op("Mul", total, self.double(average.factors.cpu().numpy()))
        return self.rounded(value, average.out.zero_point, average.out.qmax, site)

    def norm(self, codes: str, terms: IntegerNormTerms, site: str | None, name: str) -> str:
        """Codes of the integer LayerNorm of codes: ``floor((M x + B) 2^-N + 1/2)``, plus the zero point.

        ``M``, ``B`` and ``2^-N`` of every token and channel go by ``<name>.multiplier``, ``.offset`` and
        ``.unit``.
        """
        double, op = self.double, self.writer.op
        channels = len(terms.shift)
        gain, mantissa, step, bias = (
            double(values.cpu().numpy()) for values in (terms.gain, terms.mantissa, terms.step, terms.bias)
        )
        x = op("Mul", self.centred(codes, terms.source_zero), double(terms.shift.cpu().numpy()))
        total, squares = self._sum(x, -1), self._sum(op("Mul", x, x), -1)
        spread = op("Sub", op("Mul", double(channels), squares), op("Mul", total, total))
        variance = op("Div", spread, double(float(channels) * channels))
        inverse = op("Div", double(1), op("Sqrt", op("Add", variance, double(terms.epsilon))))
        power = op("Mul", self.power_below(inverse), double(2))
        fraction = op("Div", inverse, power)
        small = op("Less", op("Mul", mantissa, fraction), double(0.5))
        unit = op("Mul", op("Mul", step, power), op("Where", small, double(0.5), double(1)))
        unit = op("Clip", unit, double(FINEST_STEP), double(1), output=f"{name}.unit")
        multiplier = op("Round", op("Div", op("Mul", gain, inverse), unit))
        limits = double(-MULTIPLIER_MAX), double(MULTIPLIER_MAX)
        multiplier = op("Clip", multiplier, *limits, output=f"{name}.multiplier")
        moved = op("Mul", multiplier, op("Div", total, double(channels)))
        offset = op("Round", op("Sub", op("Div", bias, unit), moved), output=f"{name}.offset")
        value = op("Mul", op("Add", op("Mul", multiplier, x), offset), unit)
        whole = op("Add", op("Floor", op("Add", value, double(0.5))), double(terms.zero))
        return self.clipped(whole, double(0), double(terms.qmax), site)

    def power_below(self, value: str) -> str:
        """The largest power of two that is no larger than a positive float64 value."""
        op = self.writer.op
        near = self.near_power(value)
        return op("Where", op("Greater", near, value), op("Mul", near, self.double(0.5)), near)

    def near_power(self, value: str) -> str:
        """The power of two next to a float64 value, by Dekker's splitting; see :data:`ONE_BIT`."""
        op = self.writer.op
        spread = op("Mul", value, self.double(ONE_BIT))
        return op("Sub", spread, op("Sub", spread, value))

    def _sum(self, x: str, axis: int) -> str:
        return self.writer.op("ReduceSum", x, self.writer.integers(axis), keepdims=1)
