"""Ranges of channels against plain searches, for constant channels and for those with outliers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bitfront.evaluators.preparation.equalization.channels import fitted_ranges
from bitfront.evaluators.preparation.equalization.folding import LEAST_SPREAD, spread


def samples(name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(1500, 12, generator=generator)
    found = {
        "normal": normal,
        "uneven": normal * torch.logspace(-3, 3, 12) + torch.linspace(-50, 50, 12),
        "skewed": normal.exp(),
        "outliers": torch.where(torch.rand(1500, 12, generator=generator) < 0.002, 30.0 * normal, normal),
        "two values": (normal > 0).float(),
    }
    return found[name]


def squared_errors(
    x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    step = np.where(high > low, (high - low) / 15, 1.0)
    return ((np.clip(np.rint((x - low) / step), 0, 15) * step + low - x) ** 2).mean(0)


NAMES = ["normal", "uneven", "skewed", "outliers", "two values"]


@pytest.mark.parametrize("name", NAMES)
def test_they_are_never_worse_than_the_extremes(name: str) -> None:
    sample = samples(name)
    found, x = fitted_ranges(sample), sample.double().numpy()
    low, high = (found.centre - found.reach).numpy(), (found.centre + found.reach).numpy()
    extremes = squared_errors(x, x.min(0), x.max(0))
    # Both in float32, where a value may lie on the other side of a tie.
    assert (squared_errors(x, low, high) <= extremes * (1 + 1e-4) + 1e-12).all()


@pytest.mark.parametrize("name", ["normal", "uneven", "skewed", "outliers"])
def test_most_are_near_the_best_of_a_full_search(name: str) -> None:
    sample = samples(name)
    found, x = fitted_ranges(sample), sample.double().numpy()
    low, high = (found.centre - found.reach).numpy(), (found.centre + found.reach).numpy()
    middle, best = np.median(x, axis=0), np.full(x.shape[1], np.inf)
    for below in np.linspace(0.05, 1.0, 40):
        for above in np.linspace(0.05, 1.0, 40):
            bounds = middle + below * (x.min(0) - middle), middle + above * (x.max(0) - middle)
            best = np.minimum(best, squared_errors(x, *bounds))
    ratio = squared_errors(x, low, high) / best
    assert np.median(ratio) < 1.02
    assert ratio.max() < 1.5


def test_clipping_pays_for_outliers() -> None:
    sample = samples("outliers")
    found, x = fitted_ranges(sample), sample.double().numpy()
    low, high = (found.centre - found.reach).numpy(), (found.centre + found.reach).numpy()
    ratio = squared_errors(x, low, high) / squared_errors(x, x.min(0), x.max(0))
    assert np.median(ratio) < 0.8


def test_they_move_and_grow_with_their_channel() -> None:
    sample = samples("skewed")
    found, moved = fitted_ranges(sample), fitted_ranges(4.0 * sample - 3.0)
    torch.testing.assert_close(moved.centre, 4.0 * found.centre - 3.0, rtol=0.02, atol=0.05)
    torch.testing.assert_close(moved.reach, 4.0 * found.reach, rtol=0.02, atol=0.05)


@pytest.mark.parametrize("constant", [0.0, 3.5, -1e6])
def test_a_constant_channel_is_its_own_centre_without_reach(constant: float) -> None:
    sample = samples("normal").clone()
    sample[:, 2] = constant
    found = fitted_ranges(sample)
    assert float(found.centre[2]) == constant
    assert float(found.reach[2]) == 0.0
    others = [c for c in range(12) if c != 2]
    assert torch.equal(found.reach[others], fitted_ranges(samples("normal")).reach[others])


@pytest.mark.parametrize(
    ("scales", "expected"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([0.0, 2.0, 4.0], [2.0 * LEAST_SPREAD, 2.0, 4.0]),
        ([0.0, 0.0, 5.0], [5.0 * LEAST_SPREAD, 5.0 * LEAST_SPREAD, 5.0]),
        ([0.0, 0.0, 0.0], [LEAST_SPREAD] * 3),
    ],
)
def test_scales_are_safe_to_divide_by(scales: list[float], expected: list[float]) -> None:
    found = spread(torch.tensor(scales, dtype=torch.float64))
    assert found.tolist() == pytest.approx(expected)
