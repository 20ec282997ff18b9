"""Levels: a few codes of an 8-bit grid that stand for all, for tensors that no uniform narrow grid fits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

GRID_BITS = 8
GRID_CODES = 1 << GRID_BITS
# Tensors of up to this many bits take levels where a recipe has them.
WIDEST_LEVELS = 4


def best_levels(counts: NDArray[np.float64], levels: int) -> NDArray[np.uint8]:
    """The codes that stand for all with the least squared error, ascending, at most ``levels`` of them.

    The optimum of Lloyd's and Max's quantizer, by dynamic programming over the borders between levels, exact
    but for rounding centroids to codes.

    Args:
        counts: How often each code occurs, ``[256]``.
        levels: How many codes may stay.

    Returns:
        The codes; evenly over the grid where ``counts`` are all zero, as those of a constant tensor are.
    """
    if not counts.any():
        return np.rint(np.linspace(0, GRID_CODES - 1, levels)).astype(np.uint8)
    codes = np.arange(GRID_CODES, dtype=np.float64)
    mass, first, second = (
        np.concatenate([[0.0], np.cumsum(counts * power)]) for power in (1.0, codes, codes**2)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = mass[None] - mass[:, None]
        centroid = np.where(weight > 0, (first[None] - first[:, None]) / weight, 0.0)
    error = (second[None] - second[:, None]) - centroid * (first[None] - first[:, None])
    error = np.where(np.tri(GRID_CODES + 1, dtype=bool), 0.0, np.maximum(error, 0.0))
    error[np.tril_indices(GRID_CODES + 1, -1)] = np.inf
    least = error[0]
    starts = []
    for _ in range(levels - 1):
        candidates = least[:, None] + error
        start = candidates.argmin(0)
        starts.append(start)
        least = candidates[start, np.arange(GRID_CODES + 1)]
    end = GRID_CODES
    found = []
    for start in [*reversed(starts), np.zeros(GRID_CODES + 1, dtype=np.int64)]:
        begin = int(start[end])
        if weight[begin, end] > 0:
            found.append(round(float(centroid[begin, end])))
        end = begin
    return np.unique(np.array(found, dtype=np.uint8))


def nearest_level(levels: NDArray[np.uint8]) -> torch.Tensor:
    """The nearest level of every code, the lower one of two, uint8 ``[256]``."""
    codes = np.arange(GRID_CODES, dtype=np.int64)
    distance = np.abs(codes[:, None] - levels.astype(np.int64)[None])
    return torch.from_numpy(levels[distance.argmin(1)])
