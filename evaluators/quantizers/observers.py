"""Observers: from the statistics of a tensor over the calibration set to its clipping range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.spaces import BitfrontError

BINS = 2048
LARGEST_COUNT = 1 << 24  # up to which torch.histc, which counts in float32, is exact
EMA_MOMENTUM = 0.9
CANDIDATES = 64
ROUNDS = 2
# From this width on, a LayerNorm output has codes enough for its outliers.
WIDE_BITS = 7
# Multiples of the standard deviation that are tried beside the largest magnitude.
DELTAS = tuple(step / 4 for step in range(-120, 1))
_NORMS = ("norm1", "norm2", "norm", "norm_tokens")


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


class MinMaxObserver:
    """The full range seen over the calibration set."""

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """Smallest and largest value, whatever the width."""
        return statistics.low, statistics.high


class EmaObserver:
    """Exponential moving averages of the batches' smallest and largest values."""

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """Averaged bounds, whatever the width."""
        return statistics.ema_low, statistics.ema_high


@dataclass(frozen=True)
class PercentileObserver:
    """The range that leaves out an equal share of the values at either end.

    Attributes:
        kept: Share of the values inside the range, 0 to 1.
    """

    kept: float = 0.9999

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """Bounds at the outer edges of the first and last bin that are kept."""
        total = statistics.counts.sum()
        if total == 0:
            return statistics.low, statistics.high
        share = np.cumsum(statistics.counts) / total
        tail = (1.0 - self.kept) / 2.0
        first = int(np.searchsorted(share, tail, side="right"))
        last = int(np.searchsorted(share, 1.0 - tail, side="left"))
        width = (statistics.high - statistics.low) / len(share)
        return statistics.low + first * width, statistics.low + (last + 1) * width


class OmseObserver:
    """Minimises the squared quantization error of the whole calibration set.

    Choukroun et al., arXiv 1902.06822, for asymmetric ranges: the two bounds are shrunk in turn, each over
    a grid of shares of its full value, with the error read off the histogram.
    """

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:
        """Lower and upper bound of the least-error range that contains zero."""
        low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
        if not statistics.counts.any():  # a constant tensor has no histogram, and nothing to clip
            return low, high
        shares = np.linspace(1.0 / CANDIDATES, 1.0, CANDIDATES)
        best_low, best_high = low, high
        for _ in range(ROUNDS):
            errors = _squared_errors(statistics, np.full(CANDIDATES, best_low), high * shares, bits)
            best_high = high * shares[int(errors.argmin())] if high > 0 else high
            errors = _squared_errors(statistics, low * shares, np.full(CANDIDATES, best_high), bits)
            best_low = low * shares[int(errors.argmin())] if low < 0 else low
        return best_low, best_high


def _squared_errors(
    statistics: TensorStatistics, lows: NDArray[np.float64], highs: NDArray[np.float64], bits: int
) -> NDArray[np.float64]:
    """Squared errors of candidate ranges, shape ``[candidates]``."""
    filled = statistics.counts > 0
    x, weight = statistics.centres[filled], statistics.counts[filled]
    qmax = (1 << bits) - 1
    scale = np.maximum((highs - lows) / qmax, np.finfo(np.float32).tiny)[:, None]
    zero = np.rint(-lows[:, None] / scale)
    restored = (np.clip(np.rint(x / scale) + zero, 0, qmax) - zero) * scale
    errors: NDArray[np.float64] = ((restored - x) ** 2) @ weight
    return errors


class AutoObserver:
    """Least squared error, but for LayerNorm outputs and attention.

    The few large channels of a LayerNorm output matter more to what follows than their squared error says:
    they keep the full range where the codes are wide, and most of it where they are narrow. Attention is
    mostly tiny, so its largest values are clipped to give the others finer steps.
    """

    def __init__(self) -> None:
        self._full, self._most, self._least_error = MinMaxObserver(), PercentileObserver(), OmseObserver()

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:
        """Bounds by the rule for the site's kind of tensor."""
        tensor = statistics.site.rpartition(".")[2]
        if tensor in _NORMS:
            return (self._full if bits >= WIDE_BITS else self._most).range(statistics, bits)
        return (self._most if tensor == "softmax" else self._least_error).range(statistics, bits)


class SigmaObserver:
    """LayerNorm outputs within ``max|x| + delta sigma`` of zero, ``delta`` fitted; the full range of others.

    VQ-ViT (Neychev, Akopova). ``delta`` is that of least squared error over the calibration set, at most 0:
    grids have an offset here, so that no code need stand for what was never seen.
    """

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:
        """Bounds within a reach of zero, for LayerNorm outputs."""
        tensor = statistics.site.rpartition(".")[2]
        if tensor not in _NORMS or not statistics.counts.any():
            return statistics.low, statistics.high
        largest = max(abs(statistics.low), abs(statistics.high))
        share = statistics.counts / statistics.counts.sum()
        mean = float(statistics.centres @ share)
        sigma = math.sqrt(float(np.square(statistics.centres - mean) @ share))
        reach = np.maximum(largest + np.array(DELTAS) * sigma, largest / CANDIDATES)
        lows, highs = np.maximum(-reach, statistics.low), np.minimum(reach, statistics.high)
        best = int(_squared_errors(statistics, np.minimum(lows, 0.0), np.maximum(highs, 0.0), bits).argmin())
        return float(lows[best]), float(highs[best])


class RangeObserver(Protocol):
    """Chooses the range that a tensor's codes cover."""

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:
        """Lowest and highest represented value for codes of ``bits`` bits."""
