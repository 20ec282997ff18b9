"""The percentile observer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitfront.evaluators.observers.statistics import TensorStatistics


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
