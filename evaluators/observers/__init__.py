"""Observers: from the statistics of a tensor over the calibration set to its clipping range."""

from bitfront.evaluators.observers.base import OBSERVERS, RangeObserver, observer_named
from bitfront.evaluators.observers.statistics import TensorStatistics

__all__ = ["OBSERVERS", "RangeObserver", "TensorStatistics", "observer_named"]
