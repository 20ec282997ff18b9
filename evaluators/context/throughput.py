"""Throughput: classifying batches on several threads, and measuring which sizes and threads are quickest.

Threads are Python threads that classify whole batches at the same time, each with one torch thread: torch
and the compiled kernels release the interpreter lock, and whole batches need no waiting for one another as
the parts of one operator do.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch

logger = logging.getLogger(__name__)

Classify = Callable[[torch.Tensor], torch.Tensor]
BATCHES = (8, 16, 32, 64)
CUDA_BATCHES = (32, 64, 128, 256)
# A larger setting costs memory: it must be quicker by more than the noise of so short a measurement.
LEAD = 1.03
SLICE_S = 0.06


@dataclass(frozen=True)
class Setting:
    """How an evaluating process goes through its images.

    Attributes:
        batch_size: Images per batch.
        threads: Batches that are classified at a time.
        images_per_second: Measured with these; higher is better.
    """

    batch_size: int
    threads: int
    images_per_second: float


def thread_counts(cpus: int) -> tuple[int, ...]:
    """Numbers of threads worth trying: powers of two below ``cpus``, and ``cpus``."""
    return (*(1 << power for power in range((cpus - 1).bit_length())), cpus)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Has torch use so many threads for what the calling thread computes in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def covered_seconds(intervals: Iterable[tuple[float, float]]) -> float:
    """Time in which at least one of the intervals (start, end) runs."""
    total, reached = 0.0, -math.inf
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def classify_batches(run: Classify, batches: Iterable[torch.Tensor], threads: int) -> Iterator[torch.Tensor]:
    """Classifies batches, ``threads`` at a time, and yields what ``run`` returns in the order of the batches.

    At most ``threads + 1`` batches are in flight. What ``run`` or ``batches`` raises is raised here, and no
    thread is at work any more when the iterator has ended, however that came about.

    Args:
        run: Classifies a batch, from several threads at a time. It is called in torch's inference mode.
        batches: The batches, taken one by one in the calling thread.
        threads: Batches at a time; with 1, the calling thread classifies.
    """

    def classify(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():  # the mode is each thread's own
            return run(batch)

    if threads == 1:
        for batch in batches:
            with torch_threads(1):
                result = classify(batch)
            yield result
        return
    # torch.set_num_threads holds for OpenMP in the thread that calls it, and no other.
    pool = ThreadPoolExecutor(threads, "classify", initializer=torch.set_num_threads, initargs=(1,))
    in_flight: deque[Future[torch.Tensor]] = deque()
    try:
        for batch in batches:
            in_flight.append(pool.submit(classify, batch))
            if len(in_flight) > threads:
                yield in_flight.popleft().result()
        while in_flight:
            yield in_flight.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def measure_throughput(
    run: Classify,
    image_shape: Sequence[int],
    *,
    batches: Sequence[int] = BATCHES,
    threads: Sequence[int] = (1,),
    seconds: float = 3.0,
    images: int | None = None,
) -> Setting:
    """Finds a quick batch size and number of threads by classifying random images.

    The number of threads is chosen on small batches, then the batch size with that many threads.

    Args:
        run: Classifies a batch of images in host memory, from several threads at a time, and returns when it
            is done.
        image_shape: Shape of one image, ``(channels, height, width)``.
        batches: Batch sizes to try, ascending.
        threads: Numbers of threads to try, ascending.
        seconds: How long to try batch sizes; the smallest is tried, and numbers of threads are tried on one
            image for each at least, however long that takes.
        images: How many images there will be: settings that leave a thread without a batch are not tried.
    """
    limit = math.inf if images is None else images
    (one,) = _measured(run, image_shape, [(1, 1)])
    probe = max(1, min(batches[0], int(SLICE_S * one.images_per_second)))
    counts = [(probe, n) for n in threads if n == threads[0] or n * batches[0] <= limit]
    chosen = _quickest(_measured(run, image_shape, counts))
    count, rate = chosen.threads, chosen.images_per_second
    sizes = [(size, count) for size in batches if size == batches[0] or size * count <= limit]
    found = _quickest(_measured(run, image_shape, _affordable(sizes, rate, seconds)))
    logger.info(
        "%.1f images/s in batches of %d on %d threads", found.images_per_second, found.batch_size, count
    )
    return found


def _affordable(pairs: Sequence[tuple[int, int]], rate: float, seconds: float) -> list[tuple[int, int]]:
    """The first pairs of batch size and threads, as many as take ``seconds`` for two rounds at ``rate``."""
    ends = itertools.accumulate(2 * math.prod(pair) / rate for pair in pairs)
    return [pair for pair, end in zip(pairs, ends, strict=True) if pair == pairs[0] or end <= seconds]


def _measured(run: Classify, image_shape: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[Setting]:
    """Pairs of batch size and threads with their rates, as far as the device's memory lasts.

    They run in turn, so that a slow moment of the machine meets them all. The best of two rounds or more
    counts: in the first one of a batch size, kernels are compiled or chosen for it.
    """
    times: dict[tuple[int, int], float] = {}
    started = time.perf_counter()
    for pair in pairs:
        try:
            times[pair] = _seconds(run, image_shape, *pair)
        except torch.OutOfMemoryError:
            if not times:
                raise
            break
    rounds = 1
    while rounds < 2 or time.perf_counter() - started < SLICE_S * len(times):
        for pair, best in times.items():
            times[pair] = min(best, _seconds(run, image_shape, *pair))
        rounds += 1
    return [Setting(*pair, math.prod(pair) / taken) for pair, taken in times.items()]


def _seconds(run: Classify, image_shape: Sequence[int], batch_size: int, threads: int) -> float:
    """Time of one batch on every thread."""
    images = torch.randn(batch_size, *image_shape, generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    for _ in classify_batches(run, [images] * threads, threads):
        pass
    return time.perf_counter() - started


def _quickest(settings: Sequence[Setting]) -> Setting:
    """The setting with the highest rate; a later one must lead clearly."""
    found = settings[0]
    for setting in settings[1:]:
        if setting.images_per_second > LEAD * found.images_per_second:
            found = setting
    return found
