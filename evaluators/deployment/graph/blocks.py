"""One encoder as a graph, and what stands before, between and after the encoders."""

from __future__ import annotations

import numpy as np

from bitfront.evaluators.deployment.graph.float_stages import write_activation, write_hidden, write_norm
from bitfront.evaluators.deployment.graph.operands import Arithmetic, Heads, Operand
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import (
    EncoderParts,
    MergeParts,
    NormParts,
    PoolParts,
    Readout,
    WindowParts,
)

# What is added to scores that a window hides: enough for a probability of 0, not too much for any float.
HIDDEN = -1e4
LAST = np.iinfo(np.int64).max


def write_encoder(arithmetic: Arithmetic, encoder: EncoderParts, index: int, x: str) -> str:
    """Writes an encoder and returns the stream behind it.

    Args:
        arithmetic: Floats or codes, and the graph.
        encoder: The float encoder.
        index: Its number.
        x: The stream before it, float32 ``[batch, tokens, channels]``.
    """

    def linear(value: Operand, layer: str) -> str:
        return arithmetic.linear(value, f"{encoder.name}.{layer}", encoder.linear()[layer])

    def source(value: str, number: int) -> Operand:
        return _behind(
            arithmetic, value, None if encoder.post_norm else norm[number], f"{encoder.name}.norm{number}"
        )

    def branch(value: str, number: int) -> str:
        return write_norm(writer, value, norm[number]) if encoder.post_norm else value

    writer, norm = arithmetic.writer, {1: encoder.norm1, 2: encoder.norm2}
    context = _attend(arithmetic, encoder, index, linear(source(x, 1), "attn.qkv"))
    x = writer.op("Add", x, branch(linear(context, "attn.proj"), 1))
    inner = write_hidden(writer, encoder, linear(source(x, 2), "mlp.fc1"))
    hidden = _behind(arithmetic, inner, encoder.hidden_norm, f"{encoder.name}.mlp.gelu")
    return writer.op("Add", x, branch(linear(hidden, "mlp.fc2"), 2))


def _behind(arithmetic: Arithmetic, value: str, norm: NormParts | None, site: str) -> Operand:
    """A tensor at its site, normalised where there is a norm."""
    return arithmetic.quantized(value, site) if norm is None else arithmetic.norm(value, norm, site)


def _attend(arithmetic: Arithmetic, encoder: EncoderParts, index: int, qkv: str) -> Operand:
    writer = arithmetic.writer
    heads = Heads(writer, encoder)
    queries, keys, values = arithmetic.operands(qkv, f"{encoder.name}.attn.qkv", heads)
    scales = encoder.score_scales.cpu().numpy().astype(np.float32)
    scale = scales[0] if (scales == scales[0]).all() else scales.reshape(1, -1, 1, 1)
    scores = writer.op("Mul", writer.op("MatMul", queries, keys), writer.constant(np.asarray(scale)))
    if encoder.window is not None:
        scores = _windowed(writer, encoder, encoder.window, scores)
    probability = writer.op("Softmax", scores, axis=-1)
    attention = arithmetic.attention(probability, f"{encoder.name}.attn.softmax", index)
    context = heads.joined(writer.op("MatMul", attention, values))
    return _behind(arithmetic, context, encoder.context_norm, f"{encoder.name}.attn.context")


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
    alike = keys_seen(writer, window)
    hiding = writer.op("Where", alike, writer.constant(0.0), writer.constant(HIDDEN))
    return writer.reshape(writer.op("Add", by_window, hiding), -1, heads, tokens, tokens)


def keys_seen(writer: GraphWriter, window: WindowParts) -> str:
    """Whether a query of a shifted window sees a key, bool ``[1, windows, 1, n, n]``."""
    assert window.mask is not None, "every query sees every key"
    count, tokens = window.rows.shape
    # A query sees the keys of its own region, which the first key that each token sees names.
    regions = writer.constant((~window.mask).int().argmax(-1).cpu().numpy().astype(np.int32))
    rows = writer.reshape(regions, 1, count, 1, tokens, 1)
    columns = writer.reshape(regions, 1, count, 1, 1, tokens)
    return writer.op("Equal", rows, columns)


def cut_patches(writer: GraphWriter, blueprint: Blueprint, x: str) -> str:
    """Patches ``[batch, patches, values of a patch]`` of images, without what fills none."""
    channels, rows, columns = blueprint.image_shape
    height, width = blueprint.patch_size
    down, across = rows // height, columns // width
    if (rows, columns) != (down * height, across * width):
        ends = writer.integers(down * height, across * width)
        x = writer.op("Slice", x, writer.integers(0, 0), ends, writer.integers(2, 3))
    x = writer.reshape(x, 0, channels, down, height, across, width)
    x = writer.transpose(x, 0, 2, 4, 1, 3, 5)
    return writer.reshape(x, 0, blueprint.patches, channels * height * width)


def write_embedding(arithmetic: Arithmetic, blueprint: Blueprint, images: str) -> str:
    """The stream ``[batch, tokens, channels]`` of images ``[batch, channels, rows, columns]``."""
    writer = arithmetic.writer
    quantized = arithmetic.quantized(images, "image", lambda x: cut_patches(writer, blueprint, x))
    x = arithmetic.linear(quantized, "patch_embed", blueprint.patch)
    if blueprint.patch_norm is not None:
        x = write_norm(writer, x, blueprint.patch_norm)
    prefix, positions = blueprint.prefix, blueprint.positions
    if len(prefix):
        x = writer.op("Pad", x, writer.integers(0, len(prefix), 0, 0, 0, 0))
    if positions is not None or len(prefix):
        added = (
            prefix.new_zeros(blueprint.tokens, blueprint.channels) if positions is None else positions.clone()
        )
        added[: len(prefix)] += prefix
        x = writer.op("Add", x, writer.constant(added[None].cpu().numpy(), "positions"))
    return x if blueprint.embed_norm is None else write_norm(writer, x, blueprint.embed_norm)


def write_merging(arithmetic: Arithmetic, merge: MergeParts, x: str) -> str:
    """The stream behind a patch merging."""
    writer = arithmetic.writer
    rows = merge.rows.flatten().cpu().numpy()
    if merge.padded:
        x = writer.op("Pad", x, writer.integers(0, 0, 0, 0, 1, 0))
    beside = writer.op("Gather", x, writer.constant(rows.astype(np.int32)), axis=1)
    beside = writer.reshape(beside, -1, len(merge.rows), merge.reduction.weight.shape[1])
    source = _behind(arithmetic, beside, None if merge.post_norm else merge.norm, f"{merge.name}.norm")
    x = arithmetic.linear(source, f"{merge.name}.reduction", merge.reduction)
    return write_norm(writer, x, merge.norm) if merge.post_norm else x


def write_readout(arithmetic: Arithmetic, readout: Readout, x: str, logits: str) -> None:
    """Writes what makes logits ``[batch, classes]``, under that name, of the last stream."""
    writer = arithmetic.writer
    if readout.pool is not None:
        operands = [_pooled(arithmetic, readout, readout.pool, x)]
    elif readout.average is None:
        read = [writer.op("Gather", x, writer.integers(token), axis=1) for token in readout.tokens]
        operands = [arithmetic.norm(token, readout.norm, "norm") for token in read]
    elif readout.norm_first:
        mean = _mean(writer, write_norm(writer, x, readout.norm), readout.average)
        operands = [arithmetic.quantized(mean, "norm")]
    else:
        operands = [arithmetic.norm(_mean(writer, x, readout.average), readout.norm, "norm")]
    found = [
        arithmetic.linear(operand, f"head.{number}", head)
        for number, (operand, head) in enumerate(zip(operands, readout.heads, strict=True))
    ]
    total = found[0]
    for more in found[1:]:
        total = writer.op("Add", total, more)
    if len(found) > 1:
        total = writer.op("Mul", total, writer.constant(1.0 / len(found)))
    writer.op("Squeeze", total, writer.integers(1), output=logits)


def _pooled(arithmetic: Arithmetic, readout: Readout, pool: PoolParts, x: str) -> Operand:
    """Attention pooling, ``[batch, 1, channels]``; the products of its one query stay floats."""
    writer, (heads, width), linear = arithmetic.writer, pool.query.shape, pool.linear()

    def layer(value: Operand, name: str) -> str:
        return arithmetic.linear(value, name, linear[name])

    normed = arithmetic.norm(_from(writer, x, pool.first), readout.norm, "norm")
    keys, values = (
        writer.reshape(part, 0, -1, heads, width)
        for part in writer.split(layer(normed, "pool.kv"), [heads * width] * 2, axis=2)
    )
    if pool.k_norm is not None:
        keys = write_norm(writer, keys, pool.k_norm)
    query = writer.constant(pool.query.view(1, heads, 1, width).cpu().numpy())
    scores = writer.op("MatMul", query, writer.transpose(keys, 0, 2, 3, 1))
    probability = writer.op("Softmax", scores, axis=-1)
    context = writer.op("MatMul", probability, writer.transpose(values, 0, 2, 1, 3))
    joined = arithmetic.quantized(writer.reshape(context, 0, 1, heads * width), "pool.context")
    token = layer(joined, "pool.proj")
    source = _behind(arithmetic, token, pool.norm, "pool.norm")
    inner = write_activation(writer, layer(source, "pool.fc1"), pool.activation)
    update = layer(arithmetic.quantized(inner, "pool.gelu"), "pool.fc2")
    return arithmetic.quantized(writer.op("Add", token, update), readout.read_site)


def _from(writer: GraphWriter, x: str, first: int) -> str:
    """The tokens from ``first`` on."""
    if not first:
        return x
    return writer.op("Slice", x, writer.integers(first), writer.integers(LAST), writer.integers(1))


def _mean(writer: GraphWriter, x: str, first: int) -> str:
    """The average over the tokens from ``first`` on, ``[batch, 1, channels]``."""
    return writer.op("ReduceMean", _from(writer, x, first), writer.integers(1), keepdims=1)
