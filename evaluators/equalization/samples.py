"""Samples of LayerNorm outputs, and moments of queries, keys and values, over the calibration set."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from bitfront.evaluators.calibration import Batches
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.site_roles import role

# Tokens of an image that are kept: 4,096 of 128 images.
TOKENS_OF_AN_IMAGE = 32
SEED = 2


@dataclass(frozen=True)
class ChannelMoments:
    """First and second moments of a tensor's channels.

    Attributes:
        mean: float64 ``[channels]``.
        variance: About the mean, float64 ``[channels]``.
    """

    mean: torch.Tensor
    variance: torch.Tensor


@dataclass
class _Sums:
    total: torch.Tensor
    rows: int = 0


@dataclass
class Observed:
    """What equalization needs to know of a model.

    Attributes:
        norms: Tokens of the output of each encoder's LayerNorms by site, float32 ``[rows, channels]``.
        qkv: Moments of queries, keys and values by site.
    """

    norms: dict[str, torch.Tensor] = field(default_factory=dict)
    qkv: dict[str, ChannelMoments] = field(default_factory=dict)


@torch.inference_mode()
def observe(blueprint: Blueprint, batches: Batches) -> Observed:
    """Runs the float model over the calibration set.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images anew at each call.
    """
    generator = torch.Generator().manual_seed(SEED)
    kept: dict[str, list[torch.Tensor]] = {}
    sums: dict[str, _Sums] = {}

    def tap(site: str, value: torch.Tensor) -> None:
        flat = value.reshape(-1, value.shape[-1])
        if role(site) in ("norm1", "norm2"):
            rows = torch.randperm(len(flat), generator=generator)[: TOKENS_OF_AN_IMAGE * len(value)]
            kept.setdefault(site, []).append(flat[rows.to(flat.device)])
        elif role(site) == "qkv":
            found = torch.stack([flat.sum(0, dtype=torch.float64), flat.square().sum(0, dtype=torch.float64)])
            total = sums.setdefault(site, _Sums(torch.zeros_like(found)))
            total.total += found
            total.rows += len(flat)

    for images in batches():
        forward(blueprint, images, tap)
    observed = Observed({site: torch.cat(parts) for site, parts in kept.items()})
    for site, found in sums.items():
        first, second = found.total / found.rows
        observed.qkv[site] = ChannelMoments(first, (second - first.square()).clamp_min(0.0))
    return observed
