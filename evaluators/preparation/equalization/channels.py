"""Channels that fill one range: LayerNorm outputs, and queries, keys and values within heads.

Scores are products of queries and keys, so that within a head any invertible matrix may be applied to the
queries if its inverse goes to the keys; a constant added to all keys moves a query's scores alike, which the
softmax does not see. Attention weights add up to 1, so that values may be scaled and shifted by channel if
the projection takes it back. All of it folds into the weights around, but for a score scale for each head.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import Batches, forward
from bitfront.evaluators.models.parts import EncoderParts, LinearParts, NormParts, WindowParts
from bitfront.evaluators.models.sites import role
from bitfront.evaluators.preparation.equalization.folding import (
    block_diagonal,
    normalising,
    reading_channels,
    spread,
    writing,
)

# The width that ranges are fitted for: what is equalized for wide codes hardly matters.
BITS = 4
# Tried for either bound in turn, as shares of its distance to the median.
SHARES = torch.linspace(0.2, 1.0, 33)
ROUNDS = 2
# Tokens of an image that are kept: 4,096 of 128 images.
TOKENS_OF_AN_IMAGE = 32
SAMPLE_SEED = 2
ROTATION_SEED = 1


@dataclass(frozen=True)
class ChannelRanges:
    """Ranges of channels.

    Attributes:
        centre: Middle of each range, float64 ``[channels]``.
        reach: Distance from the middle to the bounds, above 0, float64 ``[channels]``.
    """

    centre: torch.Tensor
    reach: torch.Tensor


def fitted_ranges(sample: torch.Tensor) -> ChannelRanges:
    """Ranges for codes of :data:`BITS` bits from a sample, float32 ``[rows, channels]``.

    Both bounds are drawn in together, then each by itself, towards the channel's median.
    """
    low, high = sample.amin(0), sample.amax(0)
    middle = sample.median(0).values
    bounds = [low, high]
    least = _squared_error(sample, low, high)

    def attempt(candidate: tuple[torch.Tensor, torch.Tensor]) -> None:
        nonlocal least
        error = _squared_error(sample, *candidate)
        better = error < least
        least = torch.where(better, error, least)
        for side in (0, 1):
            bounds[side] = torch.where(better, candidate[side], bounds[side])

    for share in SHARES:
        attempt((torch.lerp(middle, low, share), torch.lerp(middle, high, share)))
    for _ in range(ROUNDS):
        for share in SHARES:
            attempt((bounds[0], torch.lerp(middle, high, share)))
        for share in SHARES:
            attempt((torch.lerp(middle, low, share), bounds[1]))
    below, above = (bound.double() for bound in bounds)
    return ChannelRanges((below + above) / 2.0, (above - below) / 2.0)


def _squared_error(sample: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each channel's uniform codes over ``[low, high]``, ``[channels]``."""
    largest = (1 << BITS) - 1
    step = ((high - low) / largest).clamp_min(torch.finfo(torch.float32).tiny)
    codes = sample.sub(low).div_(step).round_().clamp_(0, largest)
    return codes.mul_(step).add_(low).sub_(sample).square_().mean(0)


def equalize_norms(encoder: EncoderParts, norms: Mapping[str, torch.Tensor]) -> EncoderParts:
    """The same encoder with LayerNorm outputs centred and scaled by channel.

    Scale and offset go into the LayerNorm's affine part and, inversely, into the next layer's weights and
    bias (RepQ-ViT, Li et al., arXiv 2212.08254, equations 5 to 10, with fitted ranges in place of extremes).

    Args:
        encoder: The float encoder.
        norms: Samples of its LayerNorm outputs by site.
    """
    if encoder.post_norm:  # layers take the stream itself
        return encoder
    norm1, qkv = _equalized(encoder.norm1, encoder.qkv, norms[f"{encoder.name}.norm1"])
    norm2, fc1 = _equalized(encoder.norm2, encoder.fc1, norms[f"{encoder.name}.norm2"])
    return dataclasses.replace(encoder, norm1=norm1, qkv=qkv, norm2=norm2, fc1=fc1)


def _equalized(norm: NormParts, reader: LinearParts, sample: torch.Tensor) -> tuple[NormParts, LinearParts]:
    ranges = fitted_ranges(sample)
    scale = spread(ranges.reach)
    return normalising(norm, scale, ranges.centre), reading_channels(reader, scale, ranges.centre)


@dataclass(frozen=True)
class ChannelMoments:
    """First and second moments of a tensor's channels.

    Attributes:
        mean: float64 ``[channels]``.
        variance: About the mean, float64 ``[channels]``.
    """

    mean: torch.Tensor
    variance: torch.Tensor


@dataclass(frozen=True)
class Observed:
    """What equalization needs to know of a model.

    Attributes:
        norms: Tokens of the output of each encoder's LayerNorms by site, float32 ``[rows, channels]``.
        qkv: Moments of queries, keys and values by site.
        hidden: Largest magnitude of each hidden channel by site, ``[hidden]``.
    """

    norms: dict[str, torch.Tensor]
    qkv: dict[str, ChannelMoments]
    hidden: dict[str, torch.Tensor]


@torch.inference_mode()
def observe(blueprint: Blueprint, batches: Batches) -> Observed:
    """Runs the float model over the calibration set.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images, from the first on at each call.
    """
    generator = torch.Generator().manual_seed(SAMPLE_SEED)
    kept: dict[str, list[torch.Tensor]] = {}
    sums: dict[str, torch.Tensor] = {}
    counts: Counter[str] = Counter()
    hidden: dict[str, torch.Tensor] = {}

    def tap(site: str, value: torch.Tensor) -> None:
        flat = value.reshape(-1, value.shape[-1])
        if role(site) in ("norm1", "norm2"):
            rows = torch.randperm(len(flat), generator=generator)[: TOKENS_OF_AN_IMAGE * len(value)]
            kept.setdefault(site, []).append(flat[rows.to(flat.device)])
        elif role(site) == "qkv":
            found = torch.stack([flat.sum(0, dtype=torch.float64), flat.square().sum(0, dtype=torch.float64)])
            sums[site] = sums[site] + found if site in sums else found
            counts[site] += len(flat)
        elif role(site) == "gelu":
            reach = flat.abs().amax(0)
            hidden[site] = torch.maximum(hidden[site], reach) if site in hidden else reach

    for images in batches():
        forward(blueprint, images, tap)
    moments = {}
    for site, total in sums.items():
        first, second = total / counts[site]
        moments[site] = ChannelMoments(first, (second - first.square()).clamp_min(0.0))
    return Observed({site: torch.cat(parts) for site, parts in kept.items()}, moments, hidden)


def equalize_heads(encoder: EncoderParts, qkv: Mapping[str, ChannelMoments]) -> EncoderParts:
    """The same encoder with queries, keys and values of like spread.

    Queries and keys are balanced (a channel's scale moves from the wider to the narrower side), rotated, so
    that every channel of a head has its share of the energy, and scaled to unit energy; keys are centred.
    Values are centred and scaled to unit spread by channel. Queries and keys that are normalised or turned
    stay as they are, and so does all where the attention's output is normalised: what is done to their
    channels would not be taken back.

    Args:
        encoder: The float encoder.
        qkv: Moments of queries, keys and values by site.
    """
    if encoder.context_norm is not None:
        return _storable(encoder)
    found = qkv[f"{encoder.name}.attn.qkv"]
    heads, width = encoder.heads, encoder.head_dim
    mean, variance = (part.view(3, heads, width) for part in (found.mean, found.variance))
    values = spread(variance[2].sqrt().flatten())
    if encoder.alters_operands:
        offset = torch.cat([torch.zeros_like(mean[:2]).flatten(), mean[2].flatten()]).float()
        centred = LinearParts(encoder.qkv.weight, encoder.qkv.bias - offset)
        scale = torch.cat([torch.ones_like(mean[:2]).flatten(), 1.0 / values])
        written = LinearParts(
            (centred.weight.double() * scale[:, None]).float(), (centred.bias.double() * scale).float()
        )
        proj = reading_channels(encoder.proj, values, mean[2].flatten())
        window = _padded_by(encoder.window, lambda padding: (padding - offset).double() * scale)
        return _storable(dataclasses.replace(encoder, qkv=written, proj=proj, window=window))
    queries = spread((variance[0] + mean[0].square()).sqrt().flatten()).view(heads, width)
    keys = spread(variance[1].sqrt().flatten()).view(heads, width)
    balance = (queries / keys).sqrt()
    # Balanced, both have the same energy in each channel.
    energy = (queries * keys).mean(1).sqrt()
    rotation = head_rotation(width).to(mean.device)
    to_queries = [rotation / (balance[h] * energy[h]) for h in range(heads)]
    to_keys = [rotation * (balance[h] / energy[h]) for h in range(heads)]
    basis = block_diagonal([*to_queries, *to_keys, (1.0 / values).diag()])
    offset = torch.cat([torch.zeros_like(mean[0]), mean[1], mean[2]]).flatten().float()
    centred = LinearParts(encoder.qkv.weight, encoder.qkv.bias - offset)
    return _storable(
        dataclasses.replace(
            encoder,
            qkv=writing(centred, basis),
            proj=reading_channels(encoder.proj, values, mean[2].flatten()),
            score_scales=encoder.score_scales * energy.square(),
            window=_padded_by(encoder.window, lambda padding: basis @ (padding - offset).double()),
        )
    )


def _padded_by(
    window: WindowParts | None, change: Callable[[torch.Tensor], torch.Tensor]
) -> WindowParts | None:
    """Windows whose padding is changed as queries, keys and values are."""
    if window is None or window.padding is None:
        return window
    return dataclasses.replace(window, padding=change(window.padding).float())


def _storable(encoder: EncoderParts) -> EncoderParts:
    """The same encoder with float32 scales of scores, as files store those of a whole model."""
    return dataclasses.replace(encoder, score_scales=encoder.score_scales.float().double())


def head_rotation(width: int) -> torch.Tensor:
    """An orthogonal matrix that spreads every channel over all, float64 ``[width, width]``.

    Hadamard's where the width is a power of two, else a random one, the same in every process.
    """
    if width & (width - 1) == 0:
        matrix = torch.ones(1, 1, dtype=torch.float64)
        while len(matrix) < width:
            matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
        return matrix / math.sqrt(width)
    generator = torch.Generator().manual_seed(ROTATION_SEED)
    gaussian = torch.randn(width, width, generator=generator, dtype=torch.float64)
    rotation: torch.Tensor = torch.linalg.qr(gaussian)[0]
    return rotation
