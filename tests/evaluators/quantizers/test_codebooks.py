"""Levels of an 8-bit grid against all possible partitions of few codes, and as what they are used for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bitfront.evaluators.quantizers.grids import GRID_CODES, codebook_lookup, fit_codebook


def histogram(counts: dict[int, float]) -> NDArray[np.float64]:
    found = np.zeros(GRID_CODES)
    found[list(counts)] = list(counts.values())
    return found


def squared_error(counts: NDArray[np.float64], levels: NDArray[np.uint8]) -> float:
    codes = np.arange(GRID_CODES)
    distance = np.abs(codes[:, None] - levels.astype(int)[None]).min(1)
    return float(counts @ distance**2)


def best_by_trying(counts: NDArray[np.float64], levels: int) -> NDArray[np.int64]:
    """Rounded centroids of the best of all partitions of the seen codes into neighbours."""
    seen = np.flatnonzero(counts)
    least, best = np.inf, np.array([0])
    for size in range(1, min(levels, len(seen)) + 1):
        for borders in itertools.combinations(range(1, len(seen)), size - 1):
            parts = np.split(seen, borders)
            centroids = [np.average(part, weights=counts[part]) for part in parts]
            error = sum(
                float(counts[part] @ (part - c) ** 2) for part, c in zip(parts, centroids, strict=True)
            )
            if error < least - 1e-9:
                least, best = error, np.unique(np.rint(centroids)).astype(int)
    return best


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_they_are_the_best_of_all_partitions(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.choice(GRID_CODES, 9, replace=False)
    counts = histogram(dict(zip(codes.tolist(), rng.gamma(0.5, 100.0, 9).tolist(), strict=True)))
    assert fit_codebook(counts, levels).tolist() == best_by_trying(counts, levels).tolist()


@pytest.mark.parametrize("shape", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("levels", [4, 8, 16])
def test_they_are_never_worse_than_uniform_codes(shape: float, levels: int) -> None:
    rng = np.random.default_rng(levels)
    codes = np.clip(rng.gamma(shape, 20.0, 50_000), 0, 255).astype(int)
    counts = np.bincount(codes, minlength=GRID_CODES).astype(float)
    found = fit_codebook(counts, levels)
    assert len(found) <= levels
    assert (np.diff(found.astype(int)) > 0).all()
    uniform = np.rint(np.linspace(0, 255, levels)).astype(np.uint8)
    to_the_largest = np.rint(np.linspace(0, codes.max(), levels)).astype(np.uint8)
    assert squared_error(counts, found) < min(
        squared_error(counts, uniform), squared_error(counts, to_the_largest)
    )


def test_few_codes_stand_for_themselves() -> None:
    counts = histogram({0: 5.0, 17: 1.0, 18: 1e9, 200: 3.0, 255: 1e-3})
    assert fit_codebook(counts, 16).tolist() == [0, 17, 18, 200, 255]
    assert fit_codebook(counts, 5).tolist() == [0, 17, 18, 200, 255]


def test_they_lie_within_what_was_seen() -> None:
    rng = np.random.default_rng(0)
    counts = histogram({code: float(rng.random()) for code in range(90, 140)})
    found = fit_codebook(counts, 16)
    assert len(found) == 16
    assert found.min() >= 90
    assert found.max() < 140


@pytest.mark.parametrize("levels", [1, 4, 16])
def test_without_a_histogram_they_span_the_grid(levels: int) -> None:
    """A constant tensor has none: its value lies on an end of its grid, or at zero."""
    found = fit_codebook(np.zeros(GRID_CODES), levels)
    assert len(found) == levels
    assert found[0] == 0
    assert levels == 1 or found[-1] == 255


@pytest.mark.parametrize("levels", [[7], [0, 255], [3, 5, 8, 100], list(range(256))])
def test_every_code_goes_to_the_nearest_level(levels: list[int]) -> None:
    table = codebook_lookup(np.array(levels, dtype=np.uint8))
    assert table.dtype == torch.uint8
    found = table.tolist()
    assert found == [min(levels, key=lambda level: (abs(level - code), level)) for code in range(GRID_CODES)]
    assert table[table.long()].tolist() == found
