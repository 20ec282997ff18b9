"""Whole small networks against the reference."""

from __future__ import annotations

import pytest
from quantized_cases import ASSIGNMENTS, small_case
from quantized_comparison import Comparison, Deviations

from bitfront.spaces import SCHEMES

# Flips of ties are few and large: only many models together have a noise worth comparing with.
SEEDS = 12
FAMILIES = {
    "vit": ["vit", "distilled", "registers", "average then norm", "norm then average", "norm before"],
    "swin": ["swin", "wide swin"],
}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_whole_networks_deviate_no_more_than_float_fake_quantization(family: str, scheme: str) -> None:
    """The mean deviation from float64 is at most twice that of float32 fake quantization, at 3 sigma."""
    names = FAMILIES[family]
    compared = [
        Comparison(small_case(names[s % len(names)], 96, s), scheme, ranges="minmax") for s in range(SEEDS)
    ]
    found = Deviations.pooled(
        c.deviations(bits, 96).as_one_sample(c.spread()) for c in compared for bits in ASSIGNMENTS
    )
    assert 0 < found.noise.mean() < 0.01
    assert found.mean_ratio < 4
    assert found.excess < 3
