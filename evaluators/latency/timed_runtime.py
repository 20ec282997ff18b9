"""What is timed, the runtimes that it can be timed in, and interleaved timing.

Several programs are timed in turn, so that a noisy moment falls on all of them alike.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from bitfront.evaluators.latency.pairs import paired
from bitfront.evaluators.latency.table import REPEATS, Latency
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig, Triple

TimedRun = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)
# Iterations in a row, after one that is not timed: a served model finds its own data in the caches.
BURST = 10


@dataclass(frozen=True, eq=False)
class Subject:
    """A model whose latency is asked for.

    Attributes:
        prepared: The quantized model at every precision.
        module: The float model.
    """

    prepared: PreparedModel
    module: nn.Module

    def uniform(self, bits: Triple) -> BitConfig:
        """The configuration with the same bits in every encoder."""
        blueprint = self.prepared.blueprint
        return BitConfig.uniform(blueprint.name, self.prepared.scheme, blueprint.encoder_layers(), bits)

    @property
    def widest(self) -> BitConfig:
        """The configuration of the greatest width of integers throughout."""
        widths = (value for value in self.prepared.choices.every if isinstance(value, int))
        return self.uniform((max(widths),) * 3)


class TimedRuntime(Protocol):
    """Runs models and their parts so that they can be timed: each timed run is one batch."""

    @property
    def source(self) -> str:
        """The name of its times, such as ``measured:torch``."""

    @property
    def needs_codes(self) -> bool:
        """Whether prepared models must have kept their codes."""

    @property
    def models_at_once(self) -> int | None:
        """How many whole models may lie in memory side by side; None where they share their weights."""

    @property
    def row(self) -> int:
        """How many equal encoders a run of :meth:`encoder` goes through."""

    @property
    def threads(self) -> int:
        """Threads of one inference."""

    def machine(self, subject: Subject) -> str:
        """What it runs on, such as the processor's name."""

    def program(self, bits: Triple) -> Hashable:
        """What distinguishes the instructions that an encoder runs: equal ones share a measurement."""

    def float_model(self, subject: Subject, batch: int) -> TimedRun:
        """The whole float model."""

    def model(self, subject: Subject, config: BitConfig, batch: int) -> TimedRun:
        """The whole model of a configuration."""

    def encoder(self, subject: Subject, index: int, bits: Triple, batch: int) -> TimedRun:
        """A row of equal encoders."""

    def rest(self, subject: Subject, batch: int) -> TimedRun:
        """Everything outside the encoders, quantized."""


@dataclass(frozen=True)
class TimingProtocol:
    """How often each of several runs is repeated.

    The defaults are those of the CPU-centric ViT study (50 warm-up and 100 timed iterations, 5 repeats);
    where they would take longer than ``budget_seconds``, warm-up and iterations shrink in proportion.

    Attributes:
        warmup: Untimed iterations of each run.
        iterations: Timed iterations in a repeat.
        repeats: Repeats.
        budget_seconds: Time that all runs may take together.
        fewest: Iterations in a repeat below which it does not shrink.
    """

    warmup: int = 50
    iterations: int = 100
    repeats: int = REPEATS
    budget_seconds: float = 12.0
    fewest: int = 3

    def fitted(self, seconds_per_round: float) -> TimingProtocol:
        """The protocol that fits the budget when all of them take that long once."""
        runs = self.iterations + math.ceil(self.iterations / BURST)  # of a repeat, with the untimed ones
        full = (self.warmup + runs * self.repeats) * seconds_per_round
        share = min(1.0, self.budget_seconds / full)
        affordable = int(runs * share)
        return dataclasses.replace(
            self,
            warmup=max(self.fewest, int(self.warmup * share)),
            iterations=max(self.fewest, affordable - math.ceil(affordable / (BURST + 1))),
        )


@dataclass(frozen=True)
class Samples:
    """Every time that one run took.

    Attributes:
        warmup: Iterations that were not timed, before the first that was.
        repeats: Milliseconds of the timed iterations, by repeat; the last ones may be short or missing where
            timing was stopped.
    """

    warmup: int
    repeats: tuple[tuple[float, ...], ...]


def time_interleaved(
    runs: Mapping[Name, TimedRun],
    protocol: TimingProtocol | None = None,
    progress: ShareDone = unreported,
    beside: Name | None = None,
) -> dict[Name, Latency]:
    """Times programs as :func:`sample_interleaved` does, in torch's inference mode.

    Args:
        runs: What is timed, by name.
        protocol: How often; the default protocol where None.
        progress: Called with the share of the runs that is done, 0 to 1.
        beside: One of the runs, in pairs with which the others are timed; see
            :func:`bitfront.evaluators.latency.pairs.paired`. None for none.

    Returns:
        For each the median in milliseconds (p50) and the range of the repeats' medians in percent.
    """
    with torch.inference_mode():
        samples = sample_interleaved(runs, protocol, progress)
    repeats = {name: found.repeats for name, found in samples.items()}
    times = repeats if beside is None else paired(repeats, beside, BURST)
    return {name: Latency(_median(found), spread_percent(found)) for name, found in times.items()}


def sample_interleaved(
    runs: Mapping[Name, TimedRun],
    protocol: TimingProtocol | None = None,
    progress: ShareDone = unreported,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[Name, Samples]:
    """Times programs in turn, in short bursts and an order that changes all the time.

    Args:
        runs: What is timed, by name.
        protocol: How often; the default protocol where None.
        progress: Called with the share of the runs that is done, 0 to 1.
        stopped: Asked after every round of bursts whether that is enough; all have run equally often
            by then.

    Returns:
        The times of each.
    """
    for run in runs.values():
        run()
    # The first round compiles and allocates; the second tells the pace.
    started = time.perf_counter()
    for run in runs.values():
        run()
    fitted = (protocol or TimingProtocol()).fitted(time.perf_counter() - started)
    timed = fitted.iterations + math.ceil(fitted.iterations / BURST)
    done, planned = 0, fitted.warmup + fitted.repeats * timed

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done / planned)

    for _ in range(fitted.warmup):
        if stopped():
            return {}
        for run in runs.values():
            run()
        advance(1)
    names = list(runs)
    shuffled = np.random.default_rng(0).permutation
    times: dict[Name, list[list[float]]] = {name: [] for name in runs}
    for repeat in range(fitted.repeats):
        for found in times.values():
            found.append([])
        for start in range(0, fitted.iterations, BURST):
            if stopped():
                break
            burst = min(BURST, fitted.iterations - start)
            for place in shuffled(len(names)):
                name = names[place]
                times[name][repeat] += _burst(runs[name], burst)
            advance(1 + burst)
    return {
        name: Samples(fitted.warmup, tuple(tuple(repeat) for repeat in found if repeat))
        for name, found in times.items()
        if found[0]
    }


def _burst(run: TimedRun, iterations: int) -> list[float]:
    """Milliseconds of iterations in a row, after one that is not timed."""
    run()
    found = []
    for _ in range(iterations):
        before = time.perf_counter()
        run()
        found.append(1e3 * (time.perf_counter() - before))
    return found


def _median(repeats: Sequence[Sequence[float]]) -> float:
    return statistics.median(value for repeat in repeats for value in repeat)


def spread_percent(repeats: Sequence[Sequence[float]]) -> float:
    """Range of the repeats' medians, in percent of the median of all."""
    medians = [statistics.median(repeat) for repeat in repeats]
    return 100.0 * (max(medians) - min(medians)) / _median(repeats)
