"""The moving-average observer."""

from __future__ import annotations

from bitfront.evaluators.observers.statistics import TensorStatistics


class EmaObserver:
    """Exponential moving averages of the batches' smallest and largest values."""

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:  # noqa: ARG002
        """Averaged bounds, whatever the width."""
        return statistics.ema_low, statistics.ema_high
