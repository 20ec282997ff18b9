"""Measuring again where other work disturbed a table, and the steadier of two."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from bitfront.evaluators.latency.table import Latency, LatencyTable, sum_error, sums_miss
from bitfront.evaluators.latency.timed_runtime import TimingProtocol

# The median error of a table's entries above which it is not steady.
MOST_ENTRY_ERROR = 0.02
# Of the time that there is, for the first measurement; and how many there are at most.
_FIRST, _MOST = 0.6, 3
Found = TypeVar("Found")


def entry_error(table: LatencyTable) -> float:
    """The median standard error of a table's entries, as a share of them."""
    every: list[Latency] = [*table.encoders.values(), table.rest, table.float_model]
    return statistics.median(entry.relative_error for entry in every)


def is_steady(table: LatencyTable, errors: Sequence[float] = ()) -> bool:
    """Whether a table may stand: its entries are sure, and its sums meet whole models.

    Args:
        table: The times.
        errors: Of its sums against whole models, as shares.
    """
    return entry_error(table) <= MOST_ENTRY_ERROR and not sums_miss(errors)


def steadiest(
    measure: Callable[[TimingProtocol], Found],
    unsteadiness: Callable[[Found], float],
    protocol: TimingProtocol,
) -> Found:
    """Measures, and again while time is left and it was not steady; the steadiest that was found.

    Args:
        measure: Measures within the budget of a protocol.
        unsteadiness: 0 of what may stand; the greater, the worse.
        protocol: Its budget is that of all measurements together.
    """
    ended = time.monotonic() + protocol.budget_seconds
    best: tuple[float, Found] | None = None
    budget = _FIRST * protocol.budget_seconds
    for _ in range(_MOST):
        started = time.monotonic()
        found = measure(dataclasses.replace(protocol, budget_seconds=budget))
        score = unsteadiness(found)
        if best is None or score < best[0]:
            best = score, found
        now = time.monotonic()
        # What could not run for half as long as the last one would be no better.
        budget = ended - now
        if not best[0] or budget < 0.5 * (now - started) or budget <= 0.0:
            break
    assert best is not None
    return best[1]


def unsteadiness(table: LatencyTable, errors: Sequence[float] = ()) -> float:
    """How much a table errs, of its entries and sums together; 0 where it may stand."""
    return 0.0 if is_steady(table, errors) else math.hypot(entry_error(table), sum_error(errors))
