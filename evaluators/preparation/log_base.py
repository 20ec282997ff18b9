"""Codes of narrow attention, searched by encoder: the base of logarithmic ones, the step of minifloats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import Batches, EncoderWalk, heads_of
from bitfront.evaluators.quantizers.grids import single
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid
from bitfront.spaces import FormatName

# Attention of up to this many bits takes logarithmic codes (LIS), wider attention uniform ones.
LOG_BITS = 4
# Binary logarithms of the bases that are tried, from 2 (log-int-softmax) to its square root (RepQ-ViT):
# float32 numbers, as files store them.
STEPS = tuple(map(single, (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)))
# Steps of minifloats that are tried, a quarter of an octave apart and clear of ties, and the least and the
# largest probability that the last code of one may stand for.
SCALES = tuple(single(2.0 ** (-quarters / 4 - 0.125)) for quarters in range(48))
LAST = (0.2, 1.5)
# Of the first batch of the calibration set.
IMAGES = 16
# Attention as its codes stand for it.
Quantize = Callable[[torch.Tensor], torch.Tensor]


@torch.inference_mode()
def search_log_steps(blueprint: Blueprint, batches: Batches) -> dict[int, float]:
    """Binary logarithm of the best base by encoder (AdaLog, Wu et al., arXiv 2407.12951, section 3.2).

    The best one leaves the attention output with the least squared error where the attention matrix alone is
    quantized.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images, from the first on at each call.
    """
    kinds = [lambda matrix, step=step: logarithmic(matrix, step) for step in STEPS]
    return {index: STEPS[found] for index, _, found in _least_errors(blueprint, batches, kinds)}


@torch.inference_mode()
def search_attention_minifloats(
    blueprint: Blueprint, batches: Batches, formats: Sequence[FormatName]
) -> dict[tuple[str, int], MinifloatGrid]:
    """The grid of attention as minifloats by site and width, by the same error.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images, from the first on at each call.
        formats: Formats that attention may take; those of more than 4 bits and of floats have none.
    """
    found: dict[tuple[str, int], MinifloatGrid] = {}
    for bits in sorted(held for held in formats if isinstance(held, int) and held <= LOG_BITS):
        grids = [MinifloatGrid.of(scale, 0, bits) for scale in SCALES]
        tried = [grid for grid in grids if LAST[0] <= grid.qmax * grid.scale <= LAST[1]]
        kinds = [lambda matrix, grid=grid: grid.dequantize(grid.quantize(matrix)) for grid in tried]
        for _, site, best in _least_errors(blueprint, batches, kinds):
            found[site, bits] = tried[best]
    return found


def _least_errors(
    blueprint: Blueprint, batches: Batches, kinds: Sequence[Quantize]
) -> Iterator[tuple[int, str, int]]:
    """Each encoder's index, the site of its attention, and which kind leaves its output the least error."""
    walk = EncoderWalk(blueprint, [next(iter(batches()))[:IMAGES]])
    for index, encoder in enumerate(blueprint.encoders):
        seen: dict[str, torch.Tensor] = {}

        def look(batch: int, site: str, value: torch.Tensor) -> None:  # noqa: ARG001 - there is one batch
            seen[site] = value  # noqa: B023 - called within this turn of the loop

        walk.advance(look)
        site = f"{encoder.name}.attn.softmax"
        attention = seen[site]
        _, _, values = heads_of(encoder, seen[f"{encoder.name}.attn.qkv"])
        whole = attention @ values
        errors = [
            float((kind(attention) @ values).sub_(whole).square_().sum(dtype=torch.float64)) for kind in kinds
        ]
        yield index, site, errors.index(min(errors))


def logarithmic(attention: torch.Tensor, step: float, bits: int = LOG_BITS) -> torch.Tensor:
    """Values of the codes of a base ``2^step``; probabilities beyond the last code are 0."""
    codes = attention.log2().div_(-step).round_()
    return torch.exp2(codes * -step).masked_fill_(codes >= 1 << bits, 0.0)
