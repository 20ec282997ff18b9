"""What a linear layer of a graph takes, and how a graph's tensors are computed: as floats or as codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bitfront.evaluators.deployment.graph.heads import Heads
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.blueprint import LayerNormParts, LinearParts

Moves = Callable[[str], str]


@dataclass(frozen=True)
class Operand:
    """A tensor on its way into a linear layer.

    Attributes:
        name: The float tensor.
        scale: Step of its codes; None where it has none.
        offset: What was added to every value so that the codes need no zero point; the layer's bias takes it
            back.
    """

    name: str
    scale: float | None = None
    offset: float = 0.0


class Arithmetic(Protocol):
    """Computes the tensors of a graph; sites and layers go by their full names, tensors are floats."""

    def norm(self, x: str, parts: LayerNormParts, site: str) -> Operand:
        """The LayerNorm of a tensor."""

    def quantized(self, x: str, site: str, moves: Moves | None = None) -> Operand:
        """A tensor as the codes of its site stand for it, its elements moved about by ``moves``."""

    def linear(self, x: Operand, layer: str, parts: LinearParts) -> str:
        """A linear layer, ``[batch, rows, out]``."""

    def operands(self, qkv: str, site: str, heads: Heads) -> list[str]:
        """Queries, keys (transposed) and values by head."""

    def attention(self, probability: str, site: str, index: int) -> str:
        """The attention matrix of encoder ``index`` as its codes stand for it."""


def layer_norm(writer: GraphWriter, x: str, parts: LayerNormParts, offset: float = 0.0) -> str:
    """LayerNorm over the last axis, plus an offset."""
    bias = (parts.bias.double() + offset).float()
    weight, moved = writer.constant(parts.weight.cpu().numpy()), writer.constant(bias.cpu().numpy())
    return writer.op("LayerNormalization", x, weight, moved, axis=-1, epsilon=float(parts.eps))
