"""How queries, keys and values lie in one tensor, and how a graph takes them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.blueprint import EncoderParts

KEYS = 1


@dataclass(frozen=True)
class Heads:
    """The heads of one encoder, within its windows where it has some.

    Attributes:
        writer: Of the graph.
        encoder: The encoder.
    """

    writer: GraphWriter
    encoder: EncoderParts

    def together(self, qkv: str) -> list[str]:
        """Queries, keys (transposed) and values ``[windows, heads, n, head_dim]`` of one tensor."""
        writer, count = self.writer, self.encoder.heads
        parts = writer.transpose(self._by_head(qkv, 3 * count), 0, 2, 1, 3)
        queries, keys, values = writer.split(parts, [count] * 3, axis=1)
        return [queries, writer.transpose(keys, 0, 1, 3, 2), values]

    def parts(self, qkv: str) -> list[str]:
        """Queries, keys and values as they lie side by side, ``[batch, tokens, heads * head_dim]``."""
        width = self.encoder.heads * self.encoder.head_dim
        return self.writer.split(qkv, [width] * 3, axis=2)

    def apart(self, part: str, number: int) -> str:
        """One of the three by head; keys are transposed."""
        order = (0, 2, 3, 1) if number == KEYS else (0, 2, 1, 3)
        return self.writer.transpose(self._by_head(part, self.encoder.heads), *order)

    def joined(self, context: str) -> str:
        """``[batch, tokens, heads * head_dim]`` of the attention output by head."""
        encoder, writer = self.encoder, self.writer
        rows = writer.transpose(context, 0, 2, 1, 3)
        width = encoder.heads * encoder.head_dim
        if encoder.window is None:
            return writer.reshape(rows, 0, encoder.tokens, width)
        places = writer.constant(encoder.window.places.cpu().numpy().astype(np.int32))
        return writer.op("Gather", writer.reshape(rows, -1, encoder.tokens, width), places, axis=1)

    def _by_head(self, x: str, count: int) -> str:
        """``[windows, n, count, head_dim]`` of ``[batch, tokens, count * head_dim]``."""
        encoder, writer = self.encoder, self.writer
        if encoder.window is None:
            return writer.reshape(x, 0, encoder.tokens, count, encoder.head_dim)
        rows = writer.constant(encoder.window.rows.flatten().cpu().numpy())
        gathered = writer.op("Gather", x, rows, axis=1)
        return writer.reshape(gathered, -1, encoder.window.rows.shape[1], count, encoder.head_dim)
