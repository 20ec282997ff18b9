"""Codes of floats of two significant bits: levels that runtimes reach by an addition and a subtraction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.quantizers.grids import GRID_CODES, AffineGrid, single
from bitfront.evaluators.quantizers.observers import TensorStatistics

# x + 2^22 x has 24 significant bits in float32: those of x that are left are its first two.
SPREAD = 2.0**22
# Significands of such floats.
_SIGNIFICANDS = (1.0, 1.5)
# Shares of the range that the outermost level is tried at, and most codes below zero.
_SHARES = np.geomspace(0.15, 1.1, 61)
_MOST_BELOW = 8
# How far from the border between two codes, in codes, every float is to be.
_CLEARANCE = 1e-3


def two_bits(x: torch.Tensor) -> torch.Tensor:
    """The nearest floats of two significant bits, the even one of two, of float32 values of any shape.

    Dekker's splitting (Numerische Mathematik 18, 1971) with an exact product, so that no kernel that fuses
    it with the sum changes a bit.
    """
    spread = x * SPREAD
    return (spread + x).sub_(spread)


def _floats(scale: float) -> NDArray[np.float32]:
    """Floats of two significant bits from a quarter of a step to 256 steps, rising."""
    least = math.floor(math.log2(scale)) - 2
    exponents = range(least, least + 12)
    return np.array([s * 2.0**e for e in exponents for s in _SIGNIFICANDS], np.float32)


@dataclass(frozen=True)
class MinifloatGrid(AffineGrid):
    """Unsigned codes ``clip(round(f / scale) + zero_point, 0, qmax)`` of a value's first two bits ``f``.

    The codes are 8-bit ones of which few are taken (16 at 4 bits): near zero one step apart, then ever more.
    """

    @classmethod
    def of(cls, scale: float, zero_point: int, bits: int) -> MinifloatGrid:
        """The grid whose largest code is the last of ``2^bits``, from 0 on.

        Args:
            scale: Step of the codes, float32.
            zero_point: Code of zero.
            bits: Of as many codes as are taken.
        """
        codes = _codes(scale, zero_point)
        return cls(scale, zero_point, int(codes[: 1 << bits][-1]))

    @property
    def codes(self) -> NDArray[np.int64]:
        """The codes that are taken, rising."""
        codes = _codes(self.scale, self.zero_point)
        return codes[codes <= self.qmax]

    @property
    def borders(self) -> list[float]:
        """The least float32 value of every code above that of zero, rising."""
        floats = np.concatenate([[np.float32(0.0)], _floats(self.scale)])
        # A sum has one bit more than its parts, so that this is exact; as it is rounded, ties are looked at.
        middles = torch.from_numpy((floats[1:] + floats[:-1]) / np.float32(2.0))
        upper = two_bits(middles).numpy() >= floats[1:]
        least = np.where(upper, middles.numpy(), np.nextafter(middles.numpy(), np.float32(np.inf)))
        found = np.rint(floats[1:] / np.float32(self.scale)).astype(np.int64) + self.zero_point
        wanted = self.codes[self.codes > self.zero_point]
        return [float(least[np.searchsorted(found, code)]) for code in wanted]

    def quantize(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of float32 values, uint8, same shape."""
        return super().quantize(two_bits(x))


def _codes(scale: float, zero_point: int) -> NDArray[np.int64]:
    """Codes of all floats of two significant bits, from 0 to 255, rising; those below 0 are clipped to it."""
    steps = np.rint(_floats(scale) / np.float32(scale)).astype(np.int64)
    found = np.concatenate([zero_point - steps, [zero_point], zero_point + steps])
    return np.unique(np.maximum(found[found < GRID_CODES], 0))


def clear_of_ties(scale: float) -> bool:
    """Whether no float lies on the border between two codes, where kernels round to either side."""
    steps = _floats(scale).astype(np.float64) / scale
    return bool((np.abs(steps - np.floor(steps) - 0.5) > _CLEARANCE).all())


def fit_minifloats(statistics: TensorStatistics, bits: int) -> MinifloatGrid:
    """The grid of least squared error over the calibration histogram.

    Args:
        statistics: Of the tensor.
        bits: Of as many codes as may be taken.

    Returns:
        A grid that holds at least one code below zero where there are negative values.
    """
    filled = statistics.counts > 0
    values, weight = torch.from_numpy(statistics.centres[filled]).float(), statistics.counts[filled]
    reach = max(statistics.high, -statistics.low)
    if not len(values) or reach <= 0.0:
        return MinifloatGrid.of(1.0, 0, bits)
    best, least = None, math.inf
    negative = statistics.low < 0.0
    # At most half of the codes, so that some are left above zero.
    for below in range(int(negative), min(_MOST_BELOW, 1 << (bits - 1)) + 1 if negative else 1):
        codes = MinifloatGrid.of(single(2.0**-0.125), below, bits)
        for share in _SHARES:
            scale = single(reach * share / (codes.qmax - below))
            if not clear_of_ties(scale):
                continue
            grid = MinifloatGrid.of(scale, below, bits)
            errors = (grid.dequantize(grid.quantize(values)) - values).double().square().numpy()
            if (error := float(errors @ weight)) < least:
                best, least = grid, error
    assert best is not None, "few scales are near ties"
    return best
