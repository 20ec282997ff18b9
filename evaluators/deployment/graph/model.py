"""Whole graphs: a configuration, the float model, and the parts whose times make up a latency table."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch

from bitfront.evaluators.deployment.graph.arithmetic import FloatArithmetic, IntegerArithmetic
from bitfront.evaluators.deployment.graph.blocks import (
    write_embedding,
    write_encoder,
    write_merging,
    write_readout,
)
from bitfront.evaluators.deployment.graph.operands import Arithmetic, Dialect
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.sites import FOLLOWS
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.spaces import BitConfig, EncoderBits

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
    writer = GraphWriter()
    arithmetic = _integers(writer, parts, config, dialect)
    return _whole(writer, arithmetic, parts.blueprint, metadata)


def float_graph(blueprint: Blueprint) -> onnx.ModelProto:
    """The float model in the same form."""
    writer = GraphWriter()
    return _whole(writer, FloatArithmetic(writer), blueprint, None)


def encoder_graph(
    parts: GraphParts, config: BitConfig, dialect: Dialect, indices: Sequence[int]
) -> onnx.ModelProto:
    """Some encoders of equal shape in a row, stream to stream."""
    writer = GraphWriter()
    arithmetic = _integers(writer, parts, config, dialect)
    x = STREAM_IN
    for index in indices:
        x = write_encoder(writer, arithmetic, parts.blueprint.encoders[index], index, x)
    writer.op("Identity", x, output=STREAM_OUT)
    first = parts.blueprint.encoders[indices[0]]
    shape = (BATCH, first.tokens, first.channels)
    return writer.model({STREAM_IN: shape}, {STREAM_OUT: shape})


def rest_graph(parts: GraphParts, config: BitConfig, dialect: Dialect) -> onnx.ModelProto:
    """Everything but the encoders: images to logits, with patch mergings."""
    writer = GraphWriter()
    arithmetic = _integers(writer, parts, config, dialect)
    return _whole(writer, arithmetic, parts.blueprint, None, encoders=False)


def _whole(
    writer: GraphWriter,
    arithmetic: Arithmetic,
    blueprint: Blueprint,
    metadata: str | None,
    *,
    encoders: bool = True,
) -> onnx.ModelProto:
    x = write_embedding(writer, arithmetic, blueprint, IMAGES)
    for index, encoder in enumerate(blueprint.encoders):
        if index in blueprint.merges:
            x = write_merging(writer, arithmetic, blueprint.merges[index], x)
        if encoders:
            x = write_encoder(writer, arithmetic, encoder, index, x)
    write_readout(writer, arithmetic, blueprint.readout, x, LOGITS)
    classes = len(blueprint.readout.heads[0].bias)
    return writer.model({IMAGES: (BATCH, *blueprint.image_shape)}, {LOGITS: (BATCH, classes)}, metadata)


def _integers(
    writer: GraphWriter, parts: GraphParts, config: BitConfig, dialect: Dialect
) -> IntegerArithmetic:
    """The arithmetic of a configuration."""
    bits = _widths(parts.blueprint, config)
    calibration = parts.calibration
    grids: dict[str, AffineGrid] = {site: calibration.grid(site, width) for site, width in bits.items()}
    codebooks: dict[str, torch.Tensor] = {
        site: calibration.codebooks[site, width]
        for site, width in bits.items()
        if (site, width) in calibration.codebooks
    }
    layers = {name: parts.outer(name) for name in parts.blueprint.outer()}
    for encoder in config.encoders:
        for layer in parts.blueprint.encoders[encoder.index].linear():
            weights, activations = encoder.bits("weights", layer), encoder.bits("activations", layer)
            layers[f"{encoder.name}.{layer}"] = parts.layer(encoder.index, layer, weights, activations)
    return IntegerArithmetic(writer, dialect, bits, grids, codebooks, layers, parts.log_steps)


def _widths(blueprint: Blueprint, config: BitConfig) -> dict[str, int]:
    """The width of every activation and attention site."""
    pinned = dict(config.pinned)
    found = {"image": pinned["embedding"], "norm": pinned["head"]}
    found |= {f"{merge.name}.norm": pinned["embedding"] for merge in blueprint.merges.values()}
    for encoder in config.encoders:
        found |= _encoder_widths(encoder)
    return found


def _encoder_widths(encoder: EncoderBits) -> dict[str, int]:
    widths = {f"{encoder.name}.{site}": encoder.bits("activations", layer) for site, layer in FOLLOWS.items()}
    return {**widths, f"{encoder.name}.{SOFTMAX}": encoder.attention}
