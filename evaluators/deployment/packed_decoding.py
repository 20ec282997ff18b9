"""The tensors of a packed file as the parts of a quantized model, each checked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from bitfront.evaluators.calibration import Calibration
from bitfront.evaluators.deployment.packed_bits import unpack
from bitfront.evaluators.packed_layout import (
    LEVELS,
    LOG_STEPS,
    PackedGrid,
    PackedLayout,
    PackedWeight,
)
from bitfront.evaluators.quantized.layer_fit import FittedLayer
from bitfront.evaluators.quantizers import AffineGrid, PowerOfTwoGrid, QuantizedWeight
from bitfront.evaluators.quantizers.affine import SMALLEST_SCALE
from bitfront.evaluators.quantizers.levels import nearest_level
from bitfront.evaluators.quantizers.power_of_two import LARGEST_EXPONENT
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
        UserError: Bits that belong to no code are not 0, or a scale is out of range.
    """
    name, (outputs, inputs) = packed.site.name, packed.shape
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
        else:
            affine[name, packed.width] = AffineGrid(scale, zero, packed.qmax)
    return Calibration(affine, power_of_two, {}, _levels(layout, tensors))


def _levels(layout: PackedLayout, tensors: Tensors) -> dict[tuple[str, int], torch.Tensor]:
    levelled = [grid for grid in layout.grids if grid.levels]
    if not levelled:
        return {}
    parts = torch.split(tensors[LEVELS], [grid.levels for grid in levelled])
    return {
        (grid.site.name, grid.width): _table(grid, part) for grid, part in zip(levelled, parts, strict=True)
    }


def _table(packed: PackedGrid, levels: torch.Tensor) -> torch.Tensor:
    if bool((levels[1:] < levels[:-1]).any()):
        raise UserError(f"its levels of {packed.site.name} are not in ascending order")
    return nearest_level(np.unique(levels.numpy()))


def decode_log_steps(layout: PackedLayout, tensors: Tensors) -> dict[int, float]:
    """Binary logarithms of the bases of attention codes by encoder.

    Raises:
        UserError: One is out of range.
    """
    if not layout.has_log_steps or not layout.log_encoders:
        return {}
    _check_within(LOG_STEPS, tensors[LOG_STEPS], _LEAST_LOG_STEP, _LARGEST_LOG_STEP)
    return dict(zip(layout.log_encoders, tensors[LOG_STEPS].tolist(), strict=True))
