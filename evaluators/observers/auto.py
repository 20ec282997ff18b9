"""The default observer: the rule that fits each kind of tensor."""

from __future__ import annotations

from bitfront.evaluators.observers.min_max import MinMaxObserver
from bitfront.evaluators.observers.omse import OmseObserver
from bitfront.evaluators.observers.percentile import PercentileObserver
from bitfront.evaluators.observers.statistics import TensorStatistics

# From this width on, a LayerNorm output has codes enough for its outliers.
WIDE_BITS = 7
_NORMS = ("norm1", "norm2", "norm", "norm_tokens")


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
