"""What a graph does before, between and after the encoders."""

from __future__ import annotations

import numpy as np

from bitfront.evaluators.deployment.graph.operand import Arithmetic, layer_norm
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.blueprint import Blueprint, MergeParts, Readout

LAST = np.iinfo(np.int64).max


def write_embedding(writer: GraphWriter, arithmetic: Arithmetic, blueprint: Blueprint, images: str) -> str:
    """The stream ``[batch, tokens, channels]`` of images ``[batch, channels, rows, columns]``."""
    channels, rows, columns = blueprint.image_shape
    height, width = blueprint.patch_size

    def cut(x: str) -> str:
        x = writer.reshape(x, 0, channels, rows // height, height, columns // width, width)
        x = writer.transpose(x, 0, 2, 4, 1, 3, 5)
        return writer.reshape(x, 0, blueprint.patches, channels * height * width)

    x = arithmetic.linear(arithmetic.quantized(images, "image", cut), "patch_embed", blueprint.patch)
    prefix, positions = blueprint.prefix, blueprint.positions
    if len(prefix):
        x = writer.op("Pad", x, writer.integers(0, len(prefix), 0, 0, 0, 0))
    if positions is not None or len(prefix):
        added = (
            prefix.new_zeros(blueprint.tokens, blueprint.channels) if positions is None else positions.clone()
        )
        added[: len(prefix)] += prefix
        x = writer.op("Add", x, writer.constant(added[None].cpu().numpy(), "positions"))
    return x if blueprint.embed_norm is None else layer_norm(writer, x, blueprint.embed_norm)


def write_merging(writer: GraphWriter, arithmetic: Arithmetic, merge: MergeParts, x: str) -> str:
    """The stream behind a patch merging."""
    rows = merge.rows.flatten().cpu().numpy()
    beside = writer.op("Gather", x, writer.constant(rows.astype(np.int32)), axis=1)
    beside = writer.reshape(beside, -1, len(merge.rows), len(merge.norm.weight))
    normed = arithmetic.norm(beside, merge.norm, f"{merge.name}.norm")
    return arithmetic.linear(normed, f"{merge.name}.reduction", merge.reduction)


def write_readout(writer: GraphWriter, arithmetic: Arithmetic, readout: Readout, x: str, logits: str) -> None:
    """Writes what makes logits ``[batch, classes]``, under that name, of the last stream."""
    if readout.average is None:
        read = [writer.op("Gather", x, writer.integers(token), axis=1) for token in readout.tokens]
        operands = [arithmetic.norm(token, readout.norm, "norm") for token in read]
    elif readout.norm_first:
        mean = _mean(writer, layer_norm(writer, x, readout.norm), readout.average)
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


def _mean(writer: GraphWriter, x: str, first: int) -> str:
    """The average over the tokens from ``first`` on, ``[batch, 1, channels]``."""
    if first:
        x = writer.op("Slice", x, writer.integers(first), writer.integers(LAST), writer.integers(1))
    return writer.op("ReduceMean", x, writer.integers(1), keepdims=1)
