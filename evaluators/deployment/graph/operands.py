"""How a graph's tensors are computed: operands as floats or codes, heads, and dialects of runtimes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bitfront.evaluators.deployment.graph.float_stages import write_operand
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.parts import EncoderParts, LinearParts, NormParts

KEYS, VALUES = 1, 2
Moves = Callable[[str], str]


@dataclass(frozen=True)
class Dialect:
    """What a runtime's optimizer has to see to run on its integer kernels.

    Attributes:
        name: The runtime it is for.
        operands_apart: Whether queries, keys and values are quantized one by one, queries as unsigned codes,
            keys and values as signed ones of the same values.
        rounds_floats: Whether it rounds to narrow floats and back where it computes in float32.
        clips_codes: Whether codes of few bits are clipped as bytes, and not as floats before rounding.
    """

    name: str
    operands_apart: bool
    rounds_floats: bool
    clips_codes: bool


# Measured on DeiT-Tiny, each file in both runtimes: OpenVINO takes 1.4 times as long where operands are
# apart, for it then leaves attention in float; ONNX Runtime 1.2 times as long where they are not. Of casts to
# bfloat16 and back OpenVINO makes none where it computes in float32. It makes a clip of floats part of the
# operator before, where ONNX Runtime takes four times as long for one as for a clip of bytes.
OPENVINO = Dialect("openvino", operands_apart=False, rounds_floats=False, clips_codes=False)
ONNXRUNTIME = Dialect("onnxruntime", operands_apart=True, rounds_floats=True, clips_codes=True)
DIALECTS = {dialect.name: dialect for dialect in (OPENVINO, ONNXRUNTIME)}


def dialect_of(runtime: str) -> Dialect:
    """That of a runtime; runtimes of other packages get the plain operators that ONNX Runtime gets."""
    return DIALECTS.get(runtime, ONNXRUNTIME)


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

    def queries_apart(self, qkv: str) -> list[str]:
        """Queries, and keys and values side by side."""
        width = self.encoder.heads * self.encoder.head_dim
        return self.writer.split(qkv, [width, 2 * width], axis=2)

    def keys_apart(self, rest: str) -> list[str]:
        """Keys and values of what lies side by side."""
        width = self.encoder.heads * self.encoder.head_dim
        return self.writer.split(rest, [width] * 2, axis=2)

    def altered(self, part: str, number: int) -> str:
        """One of the three behind its norm and rotation, and with the padding of windows behind it.

        ``[batch, tokens, heads * head_dim]``, one token more where there is padding.
        """
        width = self.encoder.heads * self.encoder.head_dim
        return self._padded(self._altered(part, number), slice(number * width, (number + 1) * width))

    def _padded(self, x: str, channels: slice) -> str:
        """A tensor of floats ``[batch, tokens, channels]`` with the padding of its channels behind it."""
        window, writer = self.encoder.window, self.writer
        if window is None or window.padding is None:
            return x
        row = writer.constant(window.padding[channels].view(1, 1, -1).cpu().numpy())
        batch = writer.op("Shape", x, start=0, end=1)
        shape = writer.op("Concat", batch, writer.integers(1, 1), axis=0)
        return writer.op("Concat", x, writer.op("Expand", row, shape), axis=1)

    def _altered(self, part: str, number: int) -> str:
        encoder, writer = self.encoder, self.writer
        norm = (encoder.q_norm, encoder.k_norm, None)[number]
        rotary = None if number == VALUES else encoder.rotary
        if norm is None and rotary is None:
            return part
        by_head = writer.reshape(part, 0, encoder.tokens, encoder.heads, encoder.head_dim)
        found = write_operand(writer, by_head, norm, rotary)
        return writer.reshape(found, 0, encoder.tokens, encoder.heads * encoder.head_dim)

    def side_by_side(self, qkv: str) -> str:
        """All three behind their norms and rotations and with their padding, next to one another.

        ``[batch, tokens, 3 * heads * head_dim]``, one token more where there is padding.
        """
        if self.encoder.alters_operands:
            parts = [self._altered(part, number) for number, part in enumerate(self.parts(qkv))]
            qkv = self.writer.op("Concat", *parts, axis=2)
        return self._padded(qkv, slice(None))

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
        taken = encoder.window.places[: encoder.tokens].cpu().numpy().astype(np.int32)
        by_image = writer.reshape(rows, -1, encoder.window.rows.numel(), width)
        return writer.op("Gather", by_image, writer.constant(taken), axis=1)

    def _by_head(self, x: str, count: int) -> str:
        """``[windows, n, count, head_dim]`` of ``[batch, tokens, count * head_dim]``."""
        encoder, writer = self.encoder, self.writer
        if encoder.window is None:
            return writer.reshape(x, 0, encoder.tokens, count, encoder.head_dim)
        rows = writer.constant(encoder.window.rows.flatten().cpu().numpy())
        gathered = writer.op("Gather", x, rows, axis=1)
        return writer.reshape(gathered, -1, encoder.window.rows.shape[1], count, encoder.head_dim)


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

    @property
    def writer(self) -> GraphWriter:
        """Of the graph."""

    def norm(self, x: str, parts: NormParts, site: str) -> Operand:
        """The norm of a tensor."""

    def quantized(self, x: str, site: str, moves: Moves | None = None) -> Operand:
        """A tensor as the codes of its site stand for it, its elements moved about by ``moves``."""

    def linear(self, x: Operand, layer: str, parts: LinearParts) -> str:
        """A linear layer, ``[batch, rows, out]``."""

    def operands(self, qkv: str, site: str, heads: Heads) -> list[str]:
        """Queries, keys (transposed) and values by head."""

    def attention(self, probability: str, site: str, index: int) -> str:
        """The attention matrix of encoder ``index`` as its codes stand for it."""
