"""What a packed file holds of a model beside quantized layers and grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from bitfront.evaluators.calibration import Calibration
from bitfront.evaluators.models.blueprint import (
    Blueprint,
    EncoderParts,
    LayerNormParts,
    MergeParts,
    WindowParts,
)
from bitfront.evaluators.packed_layout import SCORE_SCALES, PackedLayout
from bitfront.evaluators.whole_tensors import POSITIONS, PREFIX, bias_table, embedded_sites


def decode_blueprint(
    layout: PackedLayout, calibration: Calibration, tensors: Mapping[str, torch.Tensor]
) -> Blueprint:
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
    scales = _score_scales(layout, tensors)

    def norm(name: str, parts: LayerNormParts) -> LayerNormParts:
        return LayerNormParts(tensors[f"{name}.weight"], tensors[f"{name}.bias"], parts.eps)

    def encoder(parts: EncoderParts) -> EncoderParts:
        return dataclasses.replace(
            parts,
            norm1=norm(f"{parts.name}.norm1", parts.norm1),
            norm2=norm(f"{parts.name}.norm2", parts.norm2),
            score_scales=scales[parts.name],
            window=None if parts.window is None else _biased(parts.window, values[bias_table(parts.name)]),
        )

    def merge(parts: MergeParts) -> MergeParts:
        return dataclasses.replace(parts, norm=norm(f"{parts.name}.norm", parts.norm))

    return dataclasses.replace(
        outline,
        prefix=values.get(PREFIX, torch.zeros(outline.prefix.shape)),
        positions=values.get(POSITIONS),
        embed_norm=None if outline.embed_norm is None else norm("embed_norm", outline.embed_norm),
        encoders=tuple(map(encoder, outline.encoders)),
        merges={index: merge(parts) for index, parts in outline.merges.items()},
        readout=dataclasses.replace(outline.readout, norm=norm("norm", outline.readout.norm)),
    )


def _embedded(
    layout: PackedLayout, calibration: Calibration, tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Prefix tokens, positions and bias tables as float32 values."""
    sites = embedded_sites(layout.blueprint)
    if layout.embedded_type == "F32":
        return {name: tensors[name] for name in sites}
    found = {}
    for name, site in sites.items():
        packed = layout.grid_of[site]
        grid = calibration.stream(site) if packed.power_of_two else calibration.grid(site, packed.width)
        found[name] = grid.dequantize(tensors[name])
    return found


def _score_scales(layout: PackedLayout, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    encoders = layout.blueprint.encoders
    if not layout.has_score_scales:
        return {encoder.name: encoder.score_scales for encoder in encoders}
    parts = torch.split(tensors[SCORE_SCALES].double(), [encoder.heads for encoder in encoders])
    return {encoder.name: part for encoder, part in zip(encoders, parts, strict=True)}


def _biased(window: WindowParts, table: torch.Tensor) -> WindowParts:
    return dataclasses.replace(window, bias=table[window.index].permute(2, 0, 1).contiguous())
