"""One encoder as a graph."""

from __future__ import annotations

import numpy as np

from bitfront.evaluators.deployment.graph.heads import Heads
from bitfront.evaluators.deployment.graph.operand import Arithmetic, Operand
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.blueprint import EncoderParts, WindowParts

# What is added to scores that a window hides: enough for a probability of 0, not too much for any float.
HIDDEN = -1e4


def write_encoder(
    writer: GraphWriter, arithmetic: Arithmetic, encoder: EncoderParts, index: int, x: str
) -> str:
    """Writes an encoder and returns the stream behind it.

    Args:
        writer: Of the graph.
        arithmetic: Floats or codes.
        encoder: The float encoder.
        index: Its number.
        x: The stream before it, float32 ``[batch, tokens, channels]``.
    """

    def linear(value: Operand, layer: str) -> str:
        return arithmetic.linear(value, f"{encoder.name}.{layer}", encoder.linear()[layer])

    def norm(value: str, number: int) -> Operand:
        parts = encoder.norm1 if number == 1 else encoder.norm2
        return arithmetic.norm(value, parts, f"{encoder.name}.norm{number}")

    context = _attend(writer, arithmetic, encoder, index, linear(norm(x, 1), "attn.qkv"))
    x = writer.op("Add", x, linear(context, "attn.proj"))
    hidden = writer.op("Gelu", linear(norm(x, 2), "mlp.fc1"))
    gelu = arithmetic.quantized(hidden, f"{encoder.name}.mlp.gelu")
    return writer.op("Add", x, linear(gelu, "mlp.fc2"))


def _attend(
    writer: GraphWriter, arithmetic: Arithmetic, encoder: EncoderParts, index: int, qkv: str
) -> Operand:
    heads = Heads(writer, encoder)
    queries, keys, values = arithmetic.operands(qkv, f"{encoder.name}.attn.qkv", heads)
    scores = _scaled(writer, encoder, writer.op("MatMul", queries, keys))
    if encoder.window is not None:
        scores = _windowed(writer, encoder, encoder.window, scores)
    probability = writer.op("Softmax", scores, axis=-1)
    attention = arithmetic.attention(probability, f"{encoder.name}.attn.softmax", index)
    context = heads.joined(writer.op("MatMul", attention, values))
    return arithmetic.quantized(context, f"{encoder.name}.attn.context")


def _scaled(writer: GraphWriter, encoder: EncoderParts, products: str) -> str:
    scales = encoder.score_scales.cpu().numpy().astype(np.float32)
    scale = scales[0] if (scales == scales[0]).all() else scales.reshape(1, -1, 1, 1)
    return writer.op("Mul", products, writer.constant(np.asarray(scale)))


def _windowed(writer: GraphWriter, encoder: EncoderParts, window: WindowParts, scores: str) -> str:
    """Scores ``[batch * windows, heads, n, n]`` with position bias, hidden pairs far below all others."""
    count, tokens = window.rows.shape
    heads = encoder.heads
    table = writer.constant(window.table.cpu().numpy(), f"{encoder.name}.attn.bias_table")
    index = writer.constant(window.index.flatten().cpu().numpy().astype(np.int32))
    bias = writer.reshape(writer.op("Gather", table, index, axis=0), 1, tokens, tokens, heads)
    scores = writer.op("Add", scores, writer.transpose(bias, 0, 3, 1, 2))
    if window.mask is None:
        return scores
    by_window = writer.reshape(scores, -1, count, heads, tokens, tokens)
    seen = writer.op("Add", by_window, _hiding(writer, window))
    return writer.reshape(seen, -1, heads, tokens, tokens)


def _hiding(writer: GraphWriter, window: WindowParts) -> str:
    """``[1, windows, 1, n, n]``: 0 where a query sees a key, as those of one region do."""
    assert window.mask is not None
    count, tokens = window.rows.shape
    # The first key that each token sees names its region.
    regions = (~window.mask).int().argmax(-1).cpu().numpy().astype(np.int32)
    rows = writer.reshape(writer.constant(regions), 1, count, 1, tokens, 1)
    columns = writer.reshape(writer.constant(regions), 1, count, 1, 1, tokens)
    alike = writer.op("Equal", rows, columns)
    return writer.op("Where", alike, writer.constant(0.0), writer.constant(HIDDEN))
