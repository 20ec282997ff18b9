"""The observer interface and the observers by name."""

from __future__ import annotations

from typing import Protocol

from bitfront.evaluators.observers.auto import AutoObserver
from bitfront.evaluators.observers.ema import EmaObserver
from bitfront.evaluators.observers.min_max import MinMaxObserver
from bitfront.evaluators.observers.omse import OmseObserver
from bitfront.evaluators.observers.percentile import PercentileObserver
from bitfront.evaluators.observers.statistics import TensorStatistics
from bitfront.spaces import UserError


class RangeObserver(Protocol):
    """Chooses the range that a tensor's codes cover."""

    def range(self, statistics: TensorStatistics, bits: int) -> tuple[float, float]:
        """Lowest and highest represented value for codes of ``bits`` bits."""


OBSERVERS: dict[str, RangeObserver] = {
    "auto": AutoObserver(),
    "minmax": MinMaxObserver(),
    "ema": EmaObserver(),
    "percentile": PercentileObserver(),
    "omse": OmseObserver(),
}


def observer_named(name: str) -> RangeObserver:
    """The observer of that name; raises :class:`UserError` for an unknown one."""
    if name not in OBSERVERS:
        raise UserError(f"unknown observer {name!r}: choose one of {', '.join(OBSERVERS)}")
    return OBSERVERS[name]
