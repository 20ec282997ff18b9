"""Linear layers before and after a change of basis, in float64 and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from bitfront.evaluators.models.parts import LinearParts, NormParts

# Channels count as spread at least this far, relative to the median one: a constant one has no scale.
LEAST_SPREAD = 1e-3


def spread(found: torch.Tensor) -> torch.Tensor:
    """Scales of channels that are safe to divide by, float64 ``[channels]``."""
    typical = float(found.median())
    if typical <= 0.0:
        typical = float(found.max()) or 1.0
    return found.clamp_min(LEAST_SPREAD * typical)


def block_diagonal(blocks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Square matrices along the diagonal of one."""
    matrix: torch.Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return matrix


def writing(parts: LinearParts, basis: torch.Tensor) -> LinearParts:
    """The layer whose output is ``basis @ y``; ``basis`` is float64 ``[new, out]``."""
    weight, bias = basis @ parts.weight.double(), basis @ parts.bias.double()
    return LinearParts(weight.float(), bias.float())


def reading(parts: LinearParts, inverse: torch.Tensor, offset: torch.Tensor) -> LinearParts:
    """The layer of ``x = inverse @ x' + offset``; float64 ``[in, new]`` and ``[in]``."""
    weight = parts.weight.double()
    return LinearParts((weight @ inverse).float(), (parts.bias.double() + weight @ offset).float())


def reading_channels(parts: LinearParts, scale: torch.Tensor, offset: torch.Tensor) -> LinearParts:
    """The layer of ``x = scale * x' + offset``; float64 ``[in]`` both."""
    weight = parts.weight.double()
    return LinearParts((weight * scale).float(), (parts.bias.double() + weight @ offset).float())


def normalising(parts: NormParts, scale: torch.Tensor, offset: torch.Tensor) -> NormParts:
    """The norm whose output is ``(y - offset) / scale``; float64 ``[channels]`` both."""
    weight, bias = parts.weight.double() / scale, (parts.bias.double() - offset) / scale
    return dataclasses.replace(parts, weight=weight.float(), bias=bias.float())


def plain(parts: NormParts) -> NormParts:
    """The norm without its affine part."""
    return dataclasses.replace(parts, weight=torch.ones_like(parts.weight), bias=torch.zeros_like(parts.bias))
