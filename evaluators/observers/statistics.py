"""Statistics of one tensor, gathered over the whole calibration set in two passes."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.spaces import BitfrontError

BINS = 2048
EMA_MOMENTUM = 0.9


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
        low, high = (float(bound) for bound in torch.aminmax(value))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise BitfrontError(
                f"calibration met NaN or infinity at {self.site}: the float model overflows on these images; "
                "check its weights and the data"
            )
        first = self.low > self.high
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.ema_low = low if first else EMA_MOMENTUM * self.ema_low + (1 - EMA_MOMENTUM) * low
        self.ema_high = high if first else EMA_MOMENTUM * self.ema_high + (1 - EMA_MOMENTUM) * high

    def observe_histogram(self, value: torch.Tensor) -> None:
        """Second pass: counts one batch into the bins."""
        if self.high > self.low:
            self.counts += torch.histc(value.float(), BINS, self.low, self.high).double().numpy()

    @property
    def centres(self) -> NDArray[np.float64]:
        """Centres of the histogram's bins, shape ``[BINS]``."""
        width = (self.high - self.low) / BINS
        return np.asarray(self.low + width * (np.arange(BINS) + 0.5), dtype=np.float64)
