"""The OMSE observer: the clipping range with the least squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.observers.statistics import TensorStatistics

CANDIDATES = 64
ROUNDS = 2


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
