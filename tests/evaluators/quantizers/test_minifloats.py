"""Floats of two significant bits against arithmetic on fractions, and grids of them on edge values."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from bitfront.evaluators.quantizers.minifloats import MinifloatGrid, clear_of_ties, fit_minifloats, two_bits
from bitfront.evaluators.quantizers.observers import TensorStatistics

EDGES = (0.0, 1.0, 1.25, 1.5, 1.75, 1.7500001, 2.0, 0.1, 1e-3, 2.0**-126, 2.0**-149, 3 * 2.0**-149)
SCALES = (0.005, 0.0037, 0.07, 2.0**-7.125)


def nearest(value: float) -> float:
    """The nearest float of two significant bits, the even one of two, in exact arithmetic."""
    if value == 0.0:
        return 0.0
    step = Fraction(2) ** (math.frexp(abs(value))[1] - 2)
    return float(round(Fraction(value) / step) * step)


def values() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(2000, generator=generator) * torch.exp2(torch.randn(2000, generator=generator) * 8)
    edges = torch.tensor(EDGES)
    return torch.cat([spread, edges, -edges])


def test_two_bits_are_the_nearest_float_in_exact_arithmetic() -> None:
    found = two_bits(values())
    # What float32 holds in fewer than two bits is as it is.
    wanted = [nearest(v) if abs(v) >= 2.0**-148 else v for v in values().tolist()]
    assert found.tolist() == wanted


def test_a_fused_product_and_sum_changes_nothing() -> None:
    """Products by powers of two are exact, so that one rounding is what two operators have, too."""
    x = values().numpy()
    spread = x.astype(np.float64) * 2.0**22
    fused = (spread + x).astype(np.float32) - spread.astype(np.float32)
    assert two_bits(values()).tolist() == fused.tolist()


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("below", [0, 3])
@pytest.mark.parametrize("scale", SCALES)
def test_no_more_codes_are_taken_than_the_bits_have(scale: float, below: int, bits: int) -> None:
    grid = MinifloatGrid.of(float(np.float32(scale)), below, bits)
    found = grid.quantize(torch.linspace(-300 * scale, 300 * scale, 100_001)).unique().tolist()
    assert found == grid.codes.tolist()
    assert len(found) == 2**bits
    assert found[-1] == grid.qmax


@pytest.mark.parametrize("scale", SCALES)
def test_borders_are_the_least_values_of_codes(scale: float) -> None:
    grid = MinifloatGrid.of(float(np.float32(scale)), 0, 4)
    borders = torch.tensor(grid.borders)
    before = torch.from_numpy(np.nextafter(borders.numpy(), np.float32(0.0)))
    assert grid.quantize(borders).tolist() == grid.codes[1:].tolist()
    assert grid.quantize(before).tolist() == grid.codes[:-1].tolist()


def test_scales_at_which_floats_are_ties_are_told() -> None:
    assert not clear_of_ties(0.25)  # half a step is one of the floats
    assert clear_of_ties(2.0**-2.125)


def statistics(x: torch.Tensor) -> TensorStatistics:
    found = TensorStatistics("blocks.0.mlp.gelu")
    found.observe_range(x)
    found.observe_histogram(x)
    return found


def test_a_fitted_grid_is_nearer_to_a_gelu_than_uniform_codes() -> None:
    first, second = torch.randn(2, 50_000, generator=torch.Generator().manual_seed(1))
    x = torch.nn.functional.gelu(first * second.abs() * 1.5 - 0.5)  # tails as those of trained models
    grid = fit_minifloats(statistics(x), 4)
    low, high = float(x.min()), float(x.max())
    error = (grid.dequantize(grid.quantize(x)) - x).square().mean()
    for share in np.linspace(0.2, 1.0, 9):
        step = (high * share - low) / 15
        uniform = ((x - low) / step).round().clamp(0, 15) * step + low
        assert error < 0.8 * (uniform - x).square().mean()
    assert grid.zero_point > 0


@pytest.mark.parametrize("bits", [2, 3])
def test_a_few_codes_leave_some_on_either_side_of_zero(bits: int) -> None:
    x = torch.nn.functional.gelu(torch.randn(5000, generator=torch.Generator().manual_seed(2)))
    grid = fit_minifloats(statistics(x), bits)
    assert 0 < grid.zero_point < grid.qmax
    assert len(grid.quantize(x).unique()) <= 2**bits


def test_tensors_that_say_nothing_have_a_grid() -> None:
    assert fit_minifloats(statistics(torch.zeros(100)), 4).quantize(torch.zeros(3)).tolist() == [0, 0, 0]
    assert fit_minifloats(statistics(torch.rand(1000)), 4).zero_point == 0
