"""Measures contestants: times interleaved in this process, peak memory each in a process of its own."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.latency.bench.entry import Contestant, Label, Loaded, Products
from bitfront.evaluators.latency.bench.memory import Memory, memory_in_fresh_process
from bitfront.evaluators.latency.timing import (
    Samples,
    TimingProtocol,
    sample_interleaved,
    spread_percent,
)
from bitfront.spaces import BitfrontError

P90 = 90
logger = logging.getLogger(__name__)
Progress = Callable[[float], None]
Stopped = Callable[[], bool]


@dataclass(frozen=True)
class Measured:
    """What a contestant took.

    Attributes:
        label: Its name.
        batch: Images of a batch.
        p50_ms: Median of all timed iterations, in milliseconds.
        p90_ms: What nine of ten stayed below.
        images_per_second: Over all timed iterations.
        spread_percent: How far the repeats' medians lie apart, of the median of all.
        warmup: Iterations before the timed ones.
        iterations: Timed iterations of a repeat.
        medians_ms: Medians of the repeats, in milliseconds; contestants' repeats ran at the same time.
        file_bytes: Bytes of the saved model.
        memory: Peak memory in a fresh process; None where it is not known.
        products: Matrix products as executed.
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

    @classmethod
    def of(
        cls, contestant: Contestant, batch: int, samples: Samples, memory: Memory | None, products: Products
    ) -> Measured:
        """The figures of some samples."""
        values = [value for repeat in samples.repeats for value in repeat]
        return cls(
            label=contestant.label,
            batch=batch,
            p50_ms=statistics.median(values),
            p90_ms=float(np.percentile(values, P90)),
            images_per_second=1e3 * batch * len(values) / sum(values),
            spread_percent=spread_percent(samples.repeats),
            warmup=samples.warmup,
            iterations=max(map(len, samples.repeats)),
            medians_ms=tuple(map(statistics.median, samples.repeats)),
            file_bytes=contestant.file_bytes,
            memory=memory,
            products=products,
        )


def measure_memory(
    contestants: Sequence[Contestant], batch: int, progress: Progress, stopped: Stopped
) -> dict[Label, Memory]:
    """Peak memory of contestants, as many at a time as there are processors; failures are logged."""
    found: dict[Label, Memory] = {}

    def measure(contestant: Contestant) -> None:
        if stopped():
            return
        try:
            found[contestant.label] = memory_in_fresh_process(contestant.entrant, batch)
        except BitfrontError as error:
            logger.warning("%s: %s", _named(contestant), error)

    with ThreadPoolExecutor(available_cpus()) as pool:
        for done, _ in enumerate(pool.map(measure, contestants), start=1):
            progress(done / len(contestants))
    return found


def measure_times(
    contestants: Sequence[Contestant],
    batch: int,
    memory: Mapping[Label, Memory],
    protocol: TimingProtocol,
    progress: Progress,
    stopped: Stopped,
) -> list[Measured]:
    """Times contestants side by side.

    Args:
        contestants: All of them are in memory at once.
        batch: Images of a batch.
        memory: What is known of their memory.
        protocol: How often they run.
        progress: Is told the share that is done.
        stopped: Whether that is enough.

    Returns:
        Their figures; none where it was stopped before the first one was timed. Those whose file cannot be
        loaded are logged and left out.
    """
    loaded: dict[Label, Loaded] = {}
    for contestant in contestants:
        if stopped():
            return []
        try:
            loaded[contestant.label] = contestant.entrant.load(batch)
        except BitfrontError as error:
            logger.warning("%s is left out: %s", _named(contestant), error)
    runs = {label: each.run for label, each in loaded.items()}
    samples = sample_interleaved(runs, protocol, progress, stopped)
    return [
        Measured.of(
            contestant,
            batch,
            samples[contestant.label],
            memory.get(contestant.label),
            loaded[contestant.label].products(),
        )
        for contestant in contestants
        if contestant.label in samples
    ]


def _named(contestant: Contestant) -> str:
    return f"{contestant.label.short} in {contestant.label.runtime}"
