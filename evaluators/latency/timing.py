"""Interleaved timing of several contestants, so that a noisy moment falls on all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bitfront.evaluators.latency.table import Entry

Contestant = Callable[[], object]
# Iterations in a row, after one that is not timed: a served model finds its own data in the caches.
BURST = 10


@dataclass(frozen=True)
class TimingProtocol:
    """How often contestants run.

    The defaults are those of the CPU-centric ViT study (50 warm-up and 100 timed iterations, 5 repeats);
    where they would take longer than ``budget_seconds``, warm-up and iterations shrink in proportion.

    Attributes:
        warmup: Untimed iterations of each contestant.
        iterations: Timed iterations in a repeat.
        repeats: Repeats.
        budget_seconds: Time that all contestants may take together.
        fewest: Iterations in a repeat below which it does not shrink.
    """

    warmup: int = 50
    iterations: int = 100
    repeats: int = 5
    budget_seconds: float = 12.0
    fewest: int = 3

    def fitted(self, seconds_per_round: float) -> TimingProtocol:
        """The protocol that fits the budget when one run of all contestants takes that long."""
        runs = self.iterations + math.ceil(self.iterations / BURST)  # of a repeat, with the untimed ones
        full = (self.warmup + runs * self.repeats) * seconds_per_round
        share = min(1.0, self.budget_seconds / full)
        affordable = int(runs * share)
        return TimingProtocol(
            max(self.fewest, int(self.warmup * share)),
            max(self.fewest, affordable - math.ceil(affordable / (BURST + 1))),
            self.repeats,
            self.budget_seconds,
            self.fewest,
        )


def time_interleaved(
    contestants: Mapping[str, Contestant],
    protocol: TimingProtocol | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Entry]:
    """Times contestants in turn, in short bursts and an order that changes all the time.

    Args:
        contestants: What is timed, by name.
        protocol: How often; the default protocol where None.
        progress: Called with the share that is done, 0 to 1.

    Returns:
        For each contestant the median in milliseconds (p50) and the range of the repeats' medians in percent.
    """
    for run in contestants.values():
        run()
    # The first round compiles and allocates; the second tells the pace.
    started = time.perf_counter()
    for run in contestants.values():
        run()
    fitted = (protocol or TimingProtocol()).fitted(time.perf_counter() - started)
    for _ in range(fitted.warmup):
        for run in contestants.values():
            run()
    shuffled = np.random.default_rng(0).permutation
    medians: dict[str, list[float]] = {name: [] for name in contestants}
    every: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(fitted.repeats):
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for done in range(0, fitted.iterations, BURST):
            for name in shuffled(list(contestants)):
                run = contestants[name]
                run()
                for _ in range(min(BURST, fitted.iterations - done)):
                    before = time.perf_counter()
                    run()
                    times[name].append(1e3 * (time.perf_counter() - before))
        for name, values in times.items():
            medians[name].append(statistics.median(values))
            every[name] += values
        if progress is not None:
            progress((repeat + 1) / fitted.repeats)
    return {name: _entry(every[name], medians[name]) for name in contestants}


def _entry(values: list[float], repeats: list[float]) -> Entry:
    median = statistics.median(values)
    return Entry(median, 100.0 * (max(repeats) - min(repeats)) / median)
