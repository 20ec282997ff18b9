"""A graph in float32: the baseline of latencies."""

from __future__ import annotations

from bitfront.evaluators.deployment.graph.heads import Heads
from bitfront.evaluators.deployment.graph.operand import Moves, Operand, layer_norm
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.blueprint import LayerNormParts, LinearParts


class FloatArithmetic:
    """Tensors as they are; see :class:`Arithmetic`."""

    def __init__(self, writer: GraphWriter) -> None:
        self._writer = writer

    def norm(self, x: str, parts: LayerNormParts, site: str) -> Operand:  # noqa: ARG002
        """See :class:`Arithmetic`."""
        return Operand(layer_norm(self._writer, x, parts))

    def quantized(self, x: str, site: str, moves: Moves | None = None) -> Operand:  # noqa: ARG002
        """See :class:`Arithmetic`: only moved."""
        return Operand(x if moves is None else moves(x))

    def linear(self, x: Operand, layer: str, parts: LinearParts) -> str:
        """See :class:`Arithmetic`."""
        weight = self._writer.constant(parts.weight.T.contiguous().cpu().numpy(), f"{layer}.weight")
        product = self._writer.op("MatMul", x.name, weight)
        return self._writer.op("Add", product, self._writer.constant(parts.bias.cpu().numpy()))

    def operands(self, qkv: str, site: str, heads: Heads) -> list[str]:  # noqa: ARG002
        """See :class:`Arithmetic`."""
        return heads.together(qkv)

    def attention(self, probability: str, site: str, index: int) -> str:  # noqa: ARG002
        """See :class:`Arithmetic`: as it is."""
        return probability
