"""LayerNorm outputs of which every channel fills the same range."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from bitfront.evaluators.equalization.channel_ranges import fitted_ranges
from bitfront.evaluators.equalization.folding import normalising, reading_channels, spread
from bitfront.evaluators.models.blueprint import EncoderParts, LayerNormParts, LinearParts


def equalize_norms(encoder: EncoderParts, norms: Mapping[str, torch.Tensor]) -> EncoderParts:
    """The same encoder with LayerNorm outputs centred and scaled by channel.

    Scale and offset go into the LayerNorm's affine part and, inversely, into the next layer's weights and
    bias (RepQ-ViT, Li et al., arXiv 2212.08254, equations 5 to 10, with fitted ranges in place of extremes).

    Args:
        encoder: The float encoder.
        norms: Samples of its LayerNorm outputs by site.
    """
    norm1, qkv = _equalized(encoder.norm1, encoder.qkv, norms[f"{encoder.name}.norm1"])
    norm2, fc1 = _equalized(encoder.norm2, encoder.fc1, norms[f"{encoder.name}.norm2"])
    return dataclasses.replace(encoder, norm1=norm1, qkv=qkv, norm2=norm2, fc1=fc1)


def _equalized(
    norm: LayerNormParts, reader: LinearParts, sample: torch.Tensor
) -> tuple[LayerNormParts, LinearParts]:
    ranges = fitted_ranges(sample)
    scale = spread(ranges.reach)
    return normalising(norm, scale, ranges.centre), reading_channels(reader, scale, ranges.centre)
