"""Whole graphs: a configuration, the float model, and the parts whose times make up a latency table."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from bitfront.evaluators.deployment.graph.arithmetic import FloatArithmetic, IntegerArithmetic
from bitfront.evaluators.deployment.graph.blocks import (
    write_embedding,
    write_encoder,
    write_merging,
    write_readout,
)
from bitfront.evaluators.deployment.graph.halves import in_halves
from bitfront.evaluators.deployment.graph.operands import Arithmetic, Dialect
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.sites import FOLLOWS, POOL_INPUTS
from bitfront.spaces import BitConfig, FormatName

IMAGES, LOGITS, BATCH = "images", "logits", "batch"
STREAM_IN, STREAM_OUT = "stream_in", "stream_out"
SOFTMAX = "attn.softmax"


def configuration_graph(
    parts: GraphParts, config: BitConfig, dialect: Dialect, metadata: str | None = None
) -> onnx.ModelProto:
    """The ONNX model of a configuration: ``images [batch, channels, rows, columns]`` to ``logits``.

    Args:
        parts: The prepared model's numbers.
        config: The configuration; it must fit the model.
        dialect: Which runtime's fast paths it is written for; any runtime computes the same numbers.
        metadata: A document that the file carries.
    """
    arithmetic = _integers(parts, config, dialect)
    return _whole(arithmetic, parts.blueprint, metadata)


def float_graph(blueprint: Blueprint) -> onnx.ModelProto:
    """The float model in the same form."""
    return _whole(FloatArithmetic(GraphWriter()), in_halves(blueprint))


def encoder_graph(
    parts: GraphParts, config: BitConfig, dialect: Dialect, indices: Sequence[int]
) -> onnx.ModelProto:
    """Some encoders of equal shape in a row, stream to stream."""
    arithmetic = _integers(parts, config, dialect)
    writer, x = arithmetic.writer, STREAM_IN
    for index in indices:
        x = write_encoder(arithmetic, parts.blueprint.encoders[index], index, x)
    writer.op("Identity", x, output=STREAM_OUT)
    first = parts.blueprint.encoders[indices[0]]
    shape = (BATCH, first.tokens, first.channels)
    return writer.model({STREAM_IN: shape}, {STREAM_OUT: shape})


def rest_graph(parts: GraphParts, config: BitConfig, dialect: Dialect) -> onnx.ModelProto:
    """Everything but the encoders: images to logits, with patch mergings."""
    return _whole(_integers(parts, config, dialect), parts.blueprint, encoders=False)


def _whole(
    arithmetic: Arithmetic, blueprint: Blueprint, metadata: str | None = None, *, encoders: bool = True
) -> onnx.ModelProto:
    writer = arithmetic.writer
    x = write_embedding(arithmetic, blueprint, IMAGES)
    for index, encoder in enumerate(blueprint.encoders):
        if index in blueprint.merges:
            x = write_merging(arithmetic, blueprint.merges[index], x)
        if encoders:
            x = write_encoder(arithmetic, encoder, index, x)
    write_readout(arithmetic, blueprint.readout, x, LOGITS)
    classes = len(blueprint.readout.heads[0].bias)
    return writer.model({IMAGES: (BATCH, *blueprint.image_shape)}, {LOGITS: (BATCH, classes)}, metadata)


def _integers(parts: GraphParts, config: BitConfig, dialect: Dialect) -> IntegerArithmetic:
    """The arithmetic of a configuration, of a graph that is still empty."""
    bits = _formats(parts.blueprint, config)
    calibration = parts.calibration
    widths = {site: width for site, width in bits.items() if isinstance(width, int)}
    grids = {site: calibration.grid(site, width) for site, width in widths.items()}
    codebooks = {
        site: calibration.codebooks[site, width]
        for site, width in widths.items()
        if (site, width) in calibration.codebooks
    }
    layers = {name: parts.outer(name) for name in parts.blueprint.outer()}
    for encoder in config.encoders:
        for layer in parts.blueprint.encoders[encoder.index].linear():
            weights, activations = encoder.bits("weights", layer), encoder.bits("activations", layer)
            layers[f"{encoder.name}.{layer}"] = parts.layer(encoder.index, layer, weights, activations)
    return IntegerArithmetic(GraphWriter(), dialect, bits, grids, codebooks, layers, parts.log_steps)


def _formats(blueprint: Blueprint, config: BitConfig) -> dict[str, FormatName]:
    """The format of every activation and attention site."""
    pinned = dict(config.pinned)
    found: dict[str, FormatName] = {"image": pinned["embedding"], "norm": pinned["head"]}
    if blueprint.readout.pool is not None:
        found |= dict.fromkeys((*POOL_INPUTS, blueprint.readout.read_site), pinned["head"])
    found |= {f"{merge.name}.norm": pinned["embedding"] for merge in blueprint.merges.values()}
    for encoder in config.encoders:
        for site, layer in FOLLOWS.items():
            found[f"{encoder.name}.{site}"] = encoder.bits("activations", layer)
        found[f"{encoder.name}.{SOFTMAX}"] = encoder.attention
    return found
