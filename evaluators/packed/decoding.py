"""The tensors of a packed file as the parts of a quantized model, each checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import ENCODER_NORMS, EncoderParts, MergeParts, NormParts, RotaryParts
from bitfront.evaluators.packed.bits import unpack
from bitfront.evaluators.packed.layout import CODEBOOKS, LOG_STEPS, SCORE_SCALES, PackedLayout, PackedWeight
from bitfront.evaluators.packed.tensors import (
    POSITIONS,
    PREFIX,
    QUERY,
    bias_table,
    embedded_sites,
    frequencies,
    hidden_scales,
    padding,
)
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantizers.floats import FloatWeight
from bitfront.evaluators.quantizers.grids import (
    LARGEST_EXPONENT,
    SMALLEST_SCALE,
    AffineGrid,
    PowerOfTwoGrid,
    codebook_lookup,
)
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid
from bitfront.evaluators.quantizers.weights import QuantizedWeight
from bitfront.spaces import UserError

Tensors = Mapping[str, torch.Tensor]
# Of scales: below what calibration gives to constant tensors and weights, and above what any model takes.
_LEAST_GRID, _LEAST_WEIGHT, _LARGEST = SMALLEST_SCALE / (2 << LARGEST_EXPONENT), 1e-20, 1e12
_LEAST_LOG_STEP, _LARGEST_LOG_STEP = 0.01, 4.0


def check_finite(tensors: Tensors) -> None:
    """Refuses numbers that no model is made of.

    Raises:
        UserError: One is NaN or infinite; its tensor is named.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"its tensor {name} holds NaN or infinity")


def _check_within(name: str, tensor: torch.Tensor, low: float, high: float) -> None:
    if tensor.numel() and not low <= float(tensor.min()) <= float(tensor.max()) <= high:
        raise UserError(
            f"its tensor {name} holds {float(tensor.min()):g} to {float(tensor.max()):g}; "
            f"expected {low:g} to {high:g}"
        )


def decode_weight(packed: PackedWeight, tensors: Tensors) -> FittedLayer:
    """A linear layer.

    Raises:
        UserError: Bits that belong to no code are not 0, or a scale or zero point is out of range.
    """
    name, (outputs, inputs) = packed.site.name, packed.shape
    if packed.held.floating:
        values = FloatWeight(tensors[name].float(), packed.held.name)
        return FittedLayer(values, tensors[f"{name}.bias"])
    content, factors = tensors[name], None
    try:
        codes = unpack(content[: packed.code_bytes], packed.width, outputs * inputs, signed=True)
        if packed.groups:
            count = outputs * packed.groups
            factors = unpack(content[packed.code_bytes :], packed.factor_width, count, signed=False) + 1
            factors = factors.view(outputs, packed.groups)
    except ValueError as error:
        raise UserError(f"its tensor {name} is damaged: {error}") from error
    scales, bias = tensors[f"{name}.scale"], tensors[f"{name}.bias"]
    _check_within(f"{name}.scale", scales, _LEAST_WEIGHT, _LARGEST)
    weight = QuantizedWeight.of_narrow_codes(codes.view(outputs, inputs), scales, packed.width, factors)
    if packed.held.zero_points:
        zeros, half = tensors[f"{name}.zero_point"], 1 << (packed.width - 1)
        _check_within(f"{name}.zero_point", zeros, -half, half - 1)
        weight = dataclasses.replace(weight, zeros=zeros)
    return FittedLayer(weight, bias)


def decode_grids(layout: PackedLayout, tensors: Tensors) -> Calibration:
    """The grids of the activation sites, each at its width.

    Raises:
        UserError: A scale, a zero point, an exponent or levels are out of range.
    """
    affine: dict[tuple[str, int], AffineGrid] = {}
    power_of_two: dict[str, PowerOfTwoGrid] = {}
    for packed in layout.grids:
        name = packed.site.name
        scale, zero = float(tensors[f"{name}.scale"]), int(tensors[f"{name}.zero_point"])
        _check_within(f"{name}.scale", tensors[f"{name}.scale"], _LEAST_GRID, _LARGEST)
        _check_within(f"{name}.zero_point", tensors[f"{name}.zero_point"], 0, packed.qmax)
        if packed.power_of_two:
            exponents = tensors[f"{name}.exponents"]
            _check_within(f"{name}.exponents", exponents, 0, LARGEST_EXPONENT)
            power_of_two[name] = PowerOfTwoGrid(scale, zero, exponents.numpy().astype(np.int64), packed.qmax)
        elif packed.minifloats:
            affine[name, packed.width] = MinifloatGrid.of(scale, zero, packed.width)
        else:
            affine[name, packed.width] = AffineGrid(scale, zero, packed.qmax)
    return Calibration(affine, power_of_two, {}, _codebooks(layout, tensors))


def _codebooks(layout: PackedLayout, tensors: Tensors) -> dict[tuple[str, int], torch.Tensor]:
    with_codebook = [grid for grid in layout.grids if grid.codebook_size]
    if not with_codebook:
        return {}
    parts = torch.split(tensors[CODEBOOKS], [grid.codebook_size for grid in with_codebook])
    found = {}
    for grid, levels in zip(with_codebook, parts, strict=True):
        if bool((levels[1:] < levels[:-1]).any()):
            raise UserError(f"its levels of {grid.site.name} are not in ascending order")
        found[grid.site.name, grid.width] = codebook_lookup(np.unique(levels.numpy()))
    return found


def decode_log_steps(layout: PackedLayout, tensors: Tensors) -> dict[int, float]:
    """Binary logarithms of the bases of attention codes by encoder.

    Raises:
        UserError: One is out of range.
    """
    if not layout.has_log_steps or not layout.log_encoders:
        return {}
    _check_within(LOG_STEPS, tensors[LOG_STEPS], _LEAST_LOG_STEP, _LARGEST_LOG_STEP)
    return dict(zip(layout.log_encoders, tensors[LOG_STEPS].tolist(), strict=True))


def with_scales(outline: Blueprint, names: Collection[str]) -> Blueprint:
    """The outline of a model with scales of hidden channels where a file has some, by its tensors' names."""
    encoders = tuple(
        dataclasses.replace(parts, hidden_scales=torch.empty(parts.hidden, device="meta"))
        if hidden_scales(parts.name) in names
        else parts
        for parts in outline.encoders
    )
    return dataclasses.replace(outline, encoders=encoders)


def decode_blueprint(layout: PackedLayout, calibration: Calibration, tensors: Tensors) -> Blueprint:
    """The model with its norms, tokens, positions, bias tables and scales of heads.

    Args:
        layout: What the file holds; its blueprint is the outline of the model.
        calibration: The grids.
        tensors: Of the file.

    Returns:
        A blueprint whose linear layers are on the meta device: quantized, they are not part of it.
    """
    outline = layout.blueprint
    values = _embedded(layout, calibration, tensors)
    scales = {parts.name: parts.score_scales for parts in outline.encoders}
    if layout.has_score_scales:
        found = torch.split(tensors[SCORE_SCALES].double(), [parts.heads for parts in outline.encoders])
        scales = dict(zip(scales, found, strict=True))

    def norm(name: str, parts: NormParts) -> NormParts:
        return dataclasses.replace(parts, weight=tensors[f"{name}.weight"], bias=tensors[f"{name}.bias"])

    def optional(name: str, parts: NormParts | None) -> NormParts | None:
        return None if parts is None else norm(name, parts)

    def encoder(parts: EncoderParts) -> EncoderParts:
        window = parts.window
        if window is not None:
            table = values[bias_table(parts.name)]
            window = dataclasses.replace(
                window,
                bias=table[window.index].permute(2, 0, 1).contiguous(),
                padding=None if window.padding is None else tensors[padding(parts.name)],
            )
        rotary = parts.rotary
        if rotary is not None and rotary.frequencies is not None:
            assert rotary.places is not None, "what is learned is multiplied with them"
            turning = tensors[frequencies(parts.name)]
            rotary = RotaryParts.learned(rotary.places, turning, halves=rotary.halves)
        learned: dict[str, Any] = {
            ENCODER_NORMS[name]: norm(f"{parts.name}.{name}", found) for name, found in parts.norms().items()
        }
        if parts.hidden_scales is not None:
            name = hidden_scales(parts.name)
            _check_within(name, tensors[name], _LEAST_WEIGHT, _LARGEST)
            learned["hidden_scales"] = tensors[name]
        return dataclasses.replace(
            parts, score_scales=scales[parts.name], window=window, rotary=rotary, **learned
        )

    def merge(parts: MergeParts) -> MergeParts:
        return dataclasses.replace(parts, norm=norm(f"{parts.name}.norm", parts.norm))

    pool = outline.readout.pool
    return dataclasses.replace(
        outline,
        prefix=values.get(PREFIX, torch.zeros(outline.prefix.shape)),
        positions=values.get(POSITIONS),
        patch_norm=optional("patch_norm", outline.patch_norm),
        embed_norm=optional("embed_norm", outline.embed_norm),
        encoders=tuple(map(encoder, outline.encoders)),
        merges={index: merge(parts) for index, parts in outline.merges.items()},
        readout=dataclasses.replace(
            outline.readout,
            norm=norm("norm", outline.readout.norm),
            pool=None
            if pool is None
            else dataclasses.replace(
                pool,
                query=tensors[QUERY],
                k_norm=optional("pool.k_norm", pool.k_norm),
                norm=optional("pool.norm", pool.norm),
            ),
        ),
    )


def _embedded(layout: PackedLayout, calibration: Calibration, tensors: Tensors) -> dict[str, torch.Tensor]:
    """Prefix tokens, positions and bias tables as float32 values."""
    sites = embedded_sites(layout.blueprint)
    if layout.embedded_type == "F32":
        return {name: tensors[name] for name in sites}
    grids = {name: layout.grid_of[site].of(calibration) for name, site in sites.items()}
    return {name: grid.dequantize(tensors[name]) for name, grid in grids.items()}
