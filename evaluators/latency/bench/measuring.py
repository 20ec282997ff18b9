"""Measures candidates: times interleaved in this process, peak memory each in a process of its own."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.latency.bench.entry import Candidate, Label, Loaded, Products
from bitfront.evaluators.latency.bench.memory import Memory, memory_in_fresh_process
from bitfront.evaluators.latency.bench.rapl import EnergyCounters
from bitfront.evaluators.latency.timed_runtime import (
    Samples,
    TimingProtocol,
    sample_interleaved,
    spread_percent,
)
from bitfront.evaluators.progress import ShareDone
from bitfront.spaces import BitfrontError

P90 = 90
logger = logging.getLogger(__name__)

Stopped = Callable[[], bool]


@dataclass(frozen=True)
class Measured:
    """What a candidate took.

    Attributes:
        label: Its name.
        batch: Images of a batch.
        p50_ms: Median of all timed iterations, in milliseconds.
        p90_ms: What nine of ten stayed below.
        images_per_second: Over all timed iterations.
        spread_percent: How far the repeats' medians lie apart, of the median of all.
        warmup: Iterations before the timed ones.
        iterations: Timed iterations of a repeat.
        medians_ms: Medians of the repeats, in milliseconds; candidates' repeats ran at the same time.
        file_bytes: Bytes of the saved model.
        memory: Peak memory in a fresh process; None where it is not known.
        products: Matrix products as executed.
        joules_per_image: What the processor counts of energy; None where it is not known.
    """

    label: Label
    batch: int
    p50_ms: float
    p90_ms: float
    images_per_second: float
    spread_percent: float
    warmup: int
    iterations: int
    medians_ms: tuple[float, ...]
    file_bytes: int
    memory: Memory | None
    products: Products
    joules_per_image: float | None = None

    @classmethod
    def of(
        cls,
        candidate: Candidate,
        batch: int,
        samples: Samples,
        memory: Memory | None,
        products: Products,
        joules_per_image: float | None = None,
    ) -> Measured:
        """The figures of some samples."""
        values = [value for repeat in samples.repeats for value in repeat]
        return cls(
            label=candidate.label,
            batch=batch,
            p50_ms=statistics.median(values),
            p90_ms=float(np.percentile(values, P90)),
            images_per_second=1e3 * batch * len(values) / sum(values),
            spread_percent=spread_percent(samples.repeats),
            warmup=samples.warmup,
            iterations=max(map(len, samples.repeats)),
            medians_ms=tuple(map(statistics.median, samples.repeats)),
            file_bytes=candidate.file_bytes,
            memory=memory,
            products=products,
            joules_per_image=joules_per_image,
        )


def measure_memory(
    candidates: Sequence[Candidate], batch: int, progress: ShareDone, stopped: Stopped
) -> dict[Label, Memory]:
    """Peak memory of candidates, as many at a time as there are processors; failures are logged."""
    found: dict[Label, Memory] = {}

    def measure(candidate: Candidate) -> None:
        if stopped():
            return
        try:
            found[candidate.label] = memory_in_fresh_process(candidate.entry, batch)
        except BitfrontError as error:
            logger.warning("%s: %s", _named(candidate), error)

    with ThreadPoolExecutor(available_cpus()) as pool:
        for done, _ in enumerate(pool.map(measure, candidates), start=1):
            progress(done / len(candidates))
    return found


def measure_times(
    candidates: Sequence[Candidate],
    batch: int,
    memory: Mapping[Label, Memory],
    protocol: TimingProtocol,
    progress: ShareDone,
    stopped: Stopped,
    counters: EnergyCounters | None = None,
) -> list[Measured]:
    """Times candidates side by side.

    Args:
        candidates: All of them are in memory at once.
        batch: Images of a batch.
        memory: What is known of their memory.
        protocol: How often they run.
        progress: Is told the share that is done.
        stopped: Whether that is enough.
        counters: Of energy, where there are some: candidates then run once more, one after the other.

    Returns:
        Their figures; none where it was stopped before the first one was timed. Those whose file cannot be
        loaded are logged and left out.
    """
    loaded: dict[Label, Loaded] = {}
    for candidate in candidates:
        if stopped():
            return []
        try:
            loaded[candidate.label] = candidate.entry.load(batch)
        except BitfrontError as error:
            logger.warning("%s is left out: %s", _named(candidate), error)
    runs = {label: each.run for label, each in loaded.items()}
    samples = sample_interleaved(runs, protocol, progress, stopped)
    energies = {} if counters is None else _joules(counters, runs, stopped)
    return [
        Measured.of(
            candidate,
            batch,
            samples[candidate.label],
            memory.get(candidate.label),
            loaded[candidate.label].products(),
            energies[candidate.label] / batch if candidate.label in energies else None,
        )
        for candidate in candidates
        if candidate.label in samples
    ]


def _joules(
    counters: EnergyCounters, runs: Mapping[Label, Callable[[], object]], stopped: Stopped
) -> dict[Label, float]:
    """Joules of one run of each candidate, as far as counters can be read."""
    found: dict[Label, float] = {}
    for label, run in runs.items():
        if stopped():
            break
        try:
            found[label] = counters.joules_of(run)
        except BitfrontError as error:
            logger.warning("energy of %s in %s: %s", label.short, label.runtime, error)
    return found


def _named(candidate: Candidate) -> str:
    return f"{candidate.label.short} in {candidate.label.runtime}"
