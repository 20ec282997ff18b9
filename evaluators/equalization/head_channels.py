"""Queries, keys and values that share one grid without loss.

Scores are products of queries and keys, so that within a head any invertible matrix may be applied to the
queries if its inverse goes to the keys; a constant added to all keys moves a query's scores alike, which the
softmax does not see. Attention weights add up to 1, so that values may be scaled and shifted by channel if
the projection takes it back. All of it folds into the weights around, but for a score scale for each head.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch

from bitfront.evaluators.equalization.folding import block_diagonal, reading_channels, spread, writing
from bitfront.evaluators.equalization.samples import ChannelMoments
from bitfront.evaluators.models.blueprint import EncoderParts, LinearParts

SEED = 1


def equalize_heads(encoder: EncoderParts, qkv: Mapping[str, ChannelMoments]) -> EncoderParts:
    """The same encoder with queries, keys and values of like spread.

    Queries and keys are balanced (a channel's scale moves from the wider to the narrower side), rotated, so
    that every channel of a head has its share of the energy, and scaled to unit energy; keys are centred.
    Values are centred and scaled to unit spread by channel.

    Args:
        encoder: The float encoder.
        qkv: Moments of queries, keys and values by site.
    """
    found = qkv[f"{encoder.name}.attn.qkv"]
    heads, width = encoder.heads, encoder.head_dim
    mean, variance = (part.view(3, heads, width) for part in (found.mean, found.variance))
    queries = spread((variance[0] + mean[0].square()).sqrt().flatten()).view(heads, width)
    keys = spread(variance[1].sqrt().flatten()).view(heads, width)
    balance = (queries / keys).sqrt()
    # Balanced, both have the same energy in each channel.
    energy = (queries * keys).mean(1).sqrt()
    rotation = head_rotation(width).to(mean.device)
    values = spread(variance[2].sqrt().flatten())
    to_queries = [rotation / (balance[h] * energy[h]) for h in range(heads)]
    to_keys = [rotation * (balance[h] / energy[h]) for h in range(heads)]
    basis = block_diagonal([*to_queries, *to_keys, (1.0 / values).diag()])
    centred = LinearParts(
        encoder.qkv.weight,
        encoder.qkv.bias - torch.cat([torch.zeros_like(mean[0]), mean[1], mean[2]]).flatten().float(),
    )
    return dataclasses.replace(
        encoder,
        qkv=writing(centred, basis),
        proj=reading_channels(encoder.proj, values, mean[2].flatten()),
        # files store them as float32
        score_scales=(encoder.score_scales * energy.square()).float().double(),
    )


def head_rotation(width: int) -> torch.Tensor:
    """An orthogonal matrix that spreads every channel over all, float64 ``[width, width]``.

    Hadamard's where the width is a power of two, else a random one, the same in every process.
    """
    if width & (width - 1) == 0:
        matrix = torch.ones(1, 1, dtype=torch.float64)
        while len(matrix) < width:
            matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
        return matrix / math.sqrt(width)
    generator = torch.Generator().manual_seed(SEED)
    rotation: torch.Tensor = torch.linalg.qr(
        torch.randn(width, width, generator=generator, dtype=torch.float64)
    )[0]
    return rotation
