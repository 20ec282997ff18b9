"""A prepared model at one configuration as the tensors of a packed file."""

from __future__ import annotations

import numpy as np
import torch

from bitfront.evaluators.packed.bits import pack
from bitfront.evaluators.packed.layout import (
    CODEBOOKS,
    LOG_STEPS,
    SCORE_SCALES,
    PackedGrid,
    PackedLayout,
    PackedWeight,
)
from bitfront.evaluators.packed.tensors import POSITIONS, PREFIX, bias_table, embedded_sites, float_parameters
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.floats import FloatWeight
from bitfront.evaluators.quantizers.grids import PowerOfTwoGrid, codebook_lookup
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid
from bitfront.spaces import BitfrontError


def encode(prepared: PreparedModel, layout: PackedLayout) -> dict[str, torch.Tensor]:
    """The tensors of a packed file by name, on the CPU.

    Args:
        prepared: A model that kept its codes.
        layout: What the file holds of it.

    Raises:
        BitfrontError: The model kept no codes, or was not prepared with the layout's recipe, so that the
            file would not hold all of it.
    """
    tensors: dict[str, torch.Tensor] = {}
    for weight in layout.weights:
        tensors |= _weight(weight, _fitted(prepared, layout, weight))
    for grid in layout.grids:
        tensors |= _grid(grid, prepared.calibration)
    tensors |= float_parameters(prepared.blueprint)
    tensors |= _embedded(prepared, layout)
    tensors |= _of_recipe(prepared, layout)
    found = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    expected = {stored.name: stored.shape for stored in layout.tensors()}
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == expected, "sizes are of these"
    return found


def _fitted(prepared: PreparedModel, layout: PackedLayout, weight: PackedWeight) -> FittedLayer:
    site = weight.site
    if site.encoder is None:
        return prepared.fitted_outer(weight.layer)
    activations = layout.config.encoders[site.encoder].bits("activations", site.layer)
    return prepared.fitted(site.encoder, site.layer, weight.held.key, activations)


def _weight(weight: PackedWeight, layer: FittedLayer) -> dict[str, torch.Tensor]:
    name = weight.site.name
    if isinstance(layer.weight, FloatWeight):
        return {name: layer.weight.stored, f"{name}.bias": layer.bias}
    found = layer.weight
    if (found.factors is None) != (weight.groups == 0):
        raise _other_recipe(f"groups of {name}")
    parts = [pack(found.narrow_codes, weight.width)]
    if found.factors is not None:
        parts.append(pack(found.factors - 1, weight.factor_width))
    zeros = {} if found.zeros is None else {f"{name}.zero_point": found.zeros}
    return {name: torch.cat(parts), f"{name}.scale": found.scales, **zeros, f"{name}.bias": layer.bias}


def _grid(packed: PackedGrid, calibration: Calibration) -> dict[str, torch.Tensor]:
    name, grid = packed.site.name, packed.of(calibration)
    if isinstance(grid, MinifloatGrid) != packed.minifloats or (
        not packed.minifloats and grid.qmax != packed.qmax
    ):
        raise _other_recipe(f"levels of {name}")
    found = {
        f"{name}.scale": _singles(f"{name}.scale", [grid.scale]),
        f"{name}.zero_point": torch.tensor([grid.zero_point], dtype=torch.uint8),
    }
    if isinstance(grid, PowerOfTwoGrid):
        found[f"{name}.exponents"] = torch.from_numpy(grid.exponents).to(torch.uint8)
    return found


def _embedded(prepared: PreparedModel, layout: PackedLayout) -> dict[str, torch.Tensor]:
    blueprint, sites = prepared.blueprint, embedded_sites(prepared.blueprint)
    values = {PREFIX: blueprint.prefix, POSITIONS: blueprint.positions}
    for encoder in blueprint.encoders:
        if encoder.window is not None:
            values[bias_table(encoder.name)] = encoder.window.table
    found = {name: value for name, value in values.items() if value is not None and name in sites}
    if layout.embedded_type == "F32":
        return found
    grids = {name: layout.grid_of[site].of(prepared.calibration) for name, site in sites.items()}
    return {name: grids[name].quantize(value) for name, value in found.items()}


def _of_recipe(prepared: PreparedModel, layout: PackedLayout) -> dict[str, torch.Tensor]:
    found = {}
    scales = [float(scale) for encoder in prepared.blueprint.encoders for scale in encoder.score_scales]
    if layout.has_score_scales:
        found[SCORE_SCALES] = _singles(SCORE_SCALES, scales)
    elif scales != [e.head_dim**-0.5 for e in prepared.blueprint.encoders for _ in range(e.heads)]:
        raise _other_recipe("scales of heads")
    codebooks = [_codebook(grid, prepared.calibration) for grid in layout.grids if grid.codebook_size]
    if codebooks:
        found[CODEBOOKS] = torch.cat(codebooks)
    steps = [prepared.log_steps[index] for index in layout.log_encoders]
    if steps and layout.has_log_steps:
        found[LOG_STEPS] = _singles(LOG_STEPS, steps)
    elif set(steps) - {1.0}:
        raise _other_recipe("bases of attention codes")
    return found


def _codebook(packed: PackedGrid, calibration: Calibration) -> torch.Tensor:
    """Levels of a site, ascending; the largest is repeated where they are fewer than codes."""
    table = calibration.codebooks.get((packed.site.name, packed.width))
    if table is None:
        raise _other_recipe(f"levels of {packed.site.name}")
    levels = np.unique(table.numpy())
    assert torch.equal(codebook_lookup(levels), table), "a code stands for its nearest level"
    return torch.from_numpy(np.pad(levels, (0, packed.codebook_size - len(levels)), mode="edge"))


def _singles(name: str, numbers: list[float]) -> torch.Tensor:
    """Numbers as float32, which must be what they are: the file is to hold the model exactly."""
    found = torch.tensor(numbers, dtype=torch.float32)
    if found.tolist() != numbers:
        raise BitfrontError(f"{name} is no float32 number, so that a file cannot hold it exactly")
    return found


def _other_recipe(what: str) -> BitfrontError:
    return BitfrontError(f"the model was not prepared with this recipe: its {what} do not fit")
