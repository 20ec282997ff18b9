"""Attention of scheme ``fq-vit`` as plain ONNX operators: integer softmax, uniform or logarithmic codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from bitfront.evaluators.deployment.graph.blocks import keys_seen
from bitfront.evaluators.deployment.graph.integer_operators import IntegerOperators
from bitfront.evaluators.deployment.graph.operands import Heads
from bitfront.evaluators.models.parts import EncoderParts, WindowParts
from bitfront.evaluators.quantized.kernels.attention_terms import HALFWAY, UNIT, AttentionTerms, IntegerScores
from bitfront.evaluators.quantizers.grids import AffineGrid


@dataclass(frozen=True)
class BiasTable:
    """The relative position bias of an encoder's scores.

    Attributes:
        grid: Of its codes.
        per_step: From its steps to those of the scores.
    """

    grid: AffineGrid
    per_step: float


@dataclass(frozen=True, eq=False)
class IntegerAttention:
    """Writes the attention of one encoder.

    Attributes:
        operators: The stages, and the graph.
        encoder: The encoder.
        terms: Its constants, as kernels take them.
        softmax: Those of its softmax.
        bias: Of its scores, where it has windows.
    """

    operators: IntegerOperators
    encoder: EncoderParts
    terms: AttentionTerms
    softmax: IntegerScores
    bias: BiasTable | None

    def context(self, qkv: str) -> str:
        """Codes ``[batch, tokens, channels]`` of attended values, before any codebook."""
        operators, terms, writer = self.operators, self.terms, self.operators.writer
        heads = Heads(writer, self.encoder)
        queries, keys, values = (operators.centred(part, terms.qkv_zero) for part in heads.together(qkv))
        products = writer.op("MatMul", queries, keys, output=self._name("scores.sums"))
        attention = self._attention(self._scores(products))
        sums = writer.op("MatMul", attention, values, output=self._name("context.sums"))
        factor = terms.out_factor / UNIT if terms.logarithmic else terms.out_factor
        # By channel: a runtime would fuse one number into the product before it.
        steps = writer.op("Mul", sums, operators.double(np.full(terms.head_dim, factor)))
        return heads.joined(operators.rounded(steps, terms.out_zero, terms.out_qmax))

    def _name(self, tensor: str) -> str:
        return f"{self.encoder.name}.attn.{tensor}"

    def _scores(self, products: str) -> str:
        """Codes of scores ``[batch * windows, heads, n, n]``, before the mask."""
        operators, terms, writer = self.operators, self.terms, self.operators.writer
        factors = np.repeat(terms.factors.cpu().numpy()[:, None, None], terms.window_tokens, 2)
        steps = writer.op("Mul", products, operators.double(factors))
        window = self.encoder.window
        if window is not None and self.bias is not None:
            steps = writer.op("Add", steps, self._bias(window, self.bias))
        return operators.rounded(steps, self.softmax.zero_point, self.softmax.qmax, self._name("scores"))

    def _bias(self, window: WindowParts, bias: BiasTable) -> str:
        """The bias in score steps ``[1, heads, n, n]``."""
        writer, tokens, heads = self.operators.writer, window.rows.shape[1], self.encoder.heads
        stored = bias.grid.quantize(window.table).cpu().numpy()
        table = writer.constant(stored, self._name("bias_table"))
        index = writer.constant(window.index.flatten().cpu().numpy().astype(np.int32))
        codes = writer.reshape(writer.op("Gather", table, index, axis=0), 1, tokens, tokens, heads)
        codes = writer.op("Transpose", codes, perm=[0, 3, 1, 2], output=self._name("bias"))
        centred = self.operators.centred(codes, bias.grid.zero_point)
        return writer.op("Mul", centred, self.operators.double(bias.per_step))

    def _attention(self, scores: str) -> str:
        """Weights of the values: uniform codes, or logarithmic ones in units of ``2^-15``; float64."""
        operators, terms, op = self.operators, self.terms, self.operators.writer.op
        exponentials, total = self._exponentials(scores)
        if not terms.logarithmic:
            scaled = op("Mul", total, operators.double(terms.attention_scale))
            share = op("Mul", exponentials, op("Div", operators.double(1), scaled))
            most = operators.double(terms.attention_codes - 1)
            whole, kind = op("Clip", op("Round", share), operators.double(0), most), TensorProto.UINT8
        else:
            whole, kind = self._logarithmic(exponentials, total), TensorProto.UINT16
        return op("Cast", op("Cast", whole, to=kind, output=self._name("softmax")), to=TensorProto.DOUBLE)

    def _exponentials(self, scores: str) -> tuple[str, str]:
        """Integer exponentials of scores and their sums over keys, float64."""
        writer, window = self.operators.writer, self.encoder.window
        table = writer.constant(self.softmax.table.cpu().numpy().astype(np.int64))
        codes = writer.op("Cast", scores, to=TensorProto.INT32)
        if window is None or window.mask is None:
            found = writer.op("Gather", table, self._below_largest(codes))
        else:
            count, tokens = window.rows.shape
            heads, seen = self.encoder.heads, keys_seen(writer, window)
            by_window = writer.reshape(codes, -1, count, heads, tokens, tokens)
            by_window = writer.op("Where", seen, by_window, writer.constant(np.array(0, np.int32)))
            found = writer.op("Gather", table, self._below_largest(by_window))
            found = writer.op("Where", seen, found, writer.constant(np.array(0, np.int64)))
            found = writer.reshape(found, -1, heads, tokens, tokens)
        total = writer.op("ReduceSum", found, writer.integers(-1), keepdims=1)
        return tuple(writer.op("Cast", part, to=TensorProto.DOUBLE) for part in (found, total))  # type: ignore[return-value]

    def _below_largest(self, codes: str) -> str:
        writer = self.operators.writer
        largest = writer.op("ReduceMax", codes, writer.integers(-1), keepdims=1)
        return writer.op("Sub", largest, codes)

    def _logarithmic(self, exponentials: str, total: str) -> str:
        """Values of logarithmic codes in units of ``2^-15``."""
        operators, terms, op = self.operators, self.terms, self.operators.writer.op
        if terms.by_thresholds:
            share = op("Mul", exponentials, op("Div", operators.double(1), total))
            return self._of_any_base(share)
        # The nearest power of two by significand; the factor moves the border to the one by logarithm.
        share = op("Mul", exponentials, op("Div", operators.double(HALFWAY), total))
        power = operators.near_power(share)
        least = operators.double(2.0 ** (1 - terms.attention_codes))
        kept = op("Where", op("Less", power, least), operators.double(0), power)
        return op("Mul", kept, operators.double(np.full(terms.window_tokens, UNIT)))

    def _of_any_base(self, share: str) -> str:
        """Binary search for how many of the falling thresholds are above a share."""
        operators, terms, writer = self.operators, self.terms, self.operators.writer
        thresholds = np.asarray(terms.log_thresholds, np.float64)
        table, found = operators.double(thresholds), None
        step = len(thresholds) // 2
        while step:
            place = self._word(step - 1)
            if found is not None:
                place = writer.op("Add", found, place)
            below = writer.op("Less", share, writer.op("Gather", table, place))
            more = writer.op("Where", below, self._word(step), self._word(0))
            found = more if found is None else writer.op("Add", found, more)
            step //= 2
        assert found is not None, "there are at least two codes"
        values = writer.op("Gather", operators.double(terms.log_values), found)
        lost = writer.op("Less", share, operators.double(thresholds[-1]))
        return writer.op("Where", lost, operators.double(0), values)

    def _word(self, value: int) -> str:
        found: NDArray[np.int32] = np.array(value, np.int32)
        return self.operators.writer.constant(found)
