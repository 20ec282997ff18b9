"""The min-max observer."""

from __future__ import annotations

from bitfront.evaluators.observers.statistics import TensorStatistics


class MinMaxObserver:
    """The full range seen over the calibration set."""

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """Smallest and largest value, whatever the width."""
        return statistics.low, statistics.high
