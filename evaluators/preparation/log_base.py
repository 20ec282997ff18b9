"""The base of logarithmic attention codes, searched for each encoder."""

from __future__ import annotations

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import Batches, EncoderWalk, heads_of
from bitfront.evaluators.quantizers.grids import single

# Attention of up to this many bits takes logarithmic codes (LIS), wider attention uniform ones.
LOG_BITS = 4
# Binary logarithms of the bases that are tried, from 2 (log-int-softmax) to its square root (RepQ-ViT):
# float32 numbers, as files store them.
STEPS = tuple(map(single, (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)))
# Of the first batch of the calibration set.
IMAGES = 16


@torch.inference_mode()
def search_log_steps(blueprint: Blueprint, batches: Batches) -> dict[int, float]:
    """Binary logarithm of the best base by encoder (AdaLog, Wu et al., arXiv 2407.12951, section 3.2).

    The best one leaves the attention output with the least squared error where the attention matrix alone is
    quantized.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images, from the first on at each call.
    """
    walk = EncoderWalk(blueprint, [next(iter(batches()))[:IMAGES]])
    found = {}
    for index, encoder in enumerate(blueprint.encoders):
        seen: dict[str, torch.Tensor] = {}

        def look(batch: int, site: str, value: torch.Tensor) -> None:  # noqa: ARG001 - there is one batch
            seen[site] = value  # noqa: B023 - called within this turn of the loop

        walk.advance(look)
        attention = seen[f"{encoder.name}.attn.softmax"]
        _, _, values = heads_of(encoder, seen[f"{encoder.name}.attn.qkv"])
        whole = attention @ values
        errors = [
            float((logarithmic(attention, step) @ values).sub_(whole).square_().sum(dtype=torch.float64))
            for step in STEPS
        ]
        found[index] = STEPS[errors.index(min(errors))]
    return found


def logarithmic(attention: torch.Tensor, step: float, bits: int = LOG_BITS) -> torch.Tensor:
    """Values of the codes of a base ``2^step``; probabilities beyond the last code are 0."""
    codes = attention.log2().div_(-step).round_()
    return torch.exp2(codes * -step).masked_fill_(codes >= 1 << bits, 0.0)
