"""Statistics of one tensor, gathered over the whole calibration set in two passes."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.quantizers.affine import AffineGrid
from bitfront.spaces import BitfrontError

BINS = 2048
LARGEST_COUNT = 1 << 24  # up to which torch.histc, which counts in float32, is exact
EMA_MOMENTUM = 0.9


def check_finite(site: str, value: torch.Tensor) -> tuple[float, float]:
    """Smallest and largest value of a tensor.

    Raises:
        BitfrontError: It holds NaN or infinity.
    """
    low, high = (float(bound) for bound in torch.aminmax(value))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BitfrontError(
            f"the float model has NaN or infinity at {site} on these images; check its weights and the data"
        )
    return low, high


class TensorStatistics:
    """Range, moving-average range and histogram of a tensor.

    The first pass over the calibration set calls :meth:`observe_range` for each batch; the second calls
    :meth:`observe_histogram`, whose bins divide the range that the first has found.

    Attributes:
        low: Smallest value seen.
        high: Largest value seen.
        ema_low: Exponential moving average of the batches' smallest values.
        ema_high: Exponential moving average of the batches' largest values.
        counts: Histogram over ``[low, high]``, shape ``[BINS]``.
    """

    def __init__(self, site: str) -> None:
        self.site = site
        self.low = math.inf
        self.high = -math.inf
        self.ema_low = math.nan
        self.ema_high = math.nan
        self.counts: NDArray[np.float64] = np.zeros(BINS)

    def observe_range(self, value: torch.Tensor) -> None:
        """First pass: widens the range by one batch.

        Raises:
            BitfrontError: The batch holds NaN or infinity.
        """
        low, high = check_finite(self.site, value)
        first = self.low > self.high
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.ema_low = low if first else EMA_MOMENTUM * self.ema_low + (1 - EMA_MOMENTUM) * low
        self.ema_high = high if first else EMA_MOMENTUM * self.ema_high + (1 - EMA_MOMENTUM) * high

    def observe_histogram(self, value: torch.Tensor) -> None:
        """Second pass: counts one batch into the bins."""
        if self.high <= self.low:
            return
        for part in torch.split(value.float().flatten(), LARGEST_COUNT):
            self.counts += torch.histc(part, BINS, self.low, self.high).double().cpu().numpy()

    @property
    def centres(self) -> NDArray[np.float64]:
        """Centres of the histogram's bins, shape ``[BINS]``."""
        width = (self.high - self.low) / BINS
        return np.asarray(self.low + width * (np.arange(BINS) + 0.5), dtype=np.float64)

    def code_counts(self, grid: AffineGrid) -> NDArray[np.float64]:
        """How many values take each code of a grid, ``[qmax + 1]``."""
        codes = np.clip(np.rint(self.centres / grid.scale) + grid.zero_point, 0, grid.qmax)
        counts = np.bincount(codes.astype(np.int64), weights=self.counts, minlength=grid.qmax + 1)
        return np.asarray(counts, dtype=np.float64)

    def outermost_share(self, grid: AffineGrid) -> float:
        """Share of the values on the outermost codes of a grid, zero's own code apart, from 0 to 1.

        A constant tensor lies on them altogether; one without a histogram counts as being inside.
        """
        if self.low == self.high:
            return 1.0
        total = self.counts.sum()
        if total == 0:
            return 0.0
        counts = self.code_counts(grid)
        outer = {0, grid.qmax} - {grid.zero_point}
        return float(sum(counts[code] for code in outer) / total)
