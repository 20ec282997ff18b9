"""Threads that classify batches, and the measurement that chooses them."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bitfront.evaluators.context import throughput
from bitfront.evaluators.context.throughput import (
    BATCHES,
    Setting,
    classify_batches,
    covered_seconds,
    measure_throughput,
    thread_counts,
)

SHAPE = (1, 4, 4)


def numbered(count: int) -> Iterator[torch.Tensor]:
    return (torch.full((2, 3), float(number)) for number in range(count))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_batches(threads: int) -> None:
    def run(batch: torch.Tensor) -> torch.Tensor:
        time.sleep(0.002 * (int(batch[0, 0]) % 3))
        return batch * 2

    found = torch.stack(list(classify_batches(run, numbered(20), threads)))
    assert torch.equal(found, 2 * torch.stack(list(numbered(20))))
    assert list(classify_batches(run, numbered(0), threads)) == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_few_batches_are_in_flight(threads: int) -> None:
    taken, most = 0, 0

    def batches() -> Iterator[torch.Tensor]:
        nonlocal taken
        for batch in numbered(20):
            taken += 1
            yield batch

    for done, _ in enumerate(classify_batches(lambda batch: batch, batches(), threads)):
        most = max(most, taken - done)
    assert most == (1 if threads == 1 else threads + 1)


def test_batches_are_classified_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)

    def run(batch: torch.Tensor) -> torch.Tensor:
        together.wait()
        return batch

    assert len(list(classify_batches(run, numbered(6), 3))) == 6


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_uses_one_thread_for_each_batch_and_keeps_the_callers(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = [
            (result.tolist(), torch.get_num_threads())
            for result in classify_batches(
                lambda batch: torch.tensor([torch.get_num_threads(), int(torch.is_inference_mode_enabled())]),
                numbered(5),
                threads,
            )
        ]
        assert seen == [([1, 1], 2)] * 5
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_errors_arrive_and_end_the_threads(threads: int) -> None:
    running = threading.active_count()

    def run(batch: torch.Tensor) -> torch.Tensor:
        if batch[0, 0] == 3:
            raise ValueError("batch 3")
        return batch

    results = classify_batches(run, numbered(10), threads)
    assert [float(next(results)[0, 0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="batch 3"):
        next(results)
    assert threading.active_count() == running


def test_errors_of_the_batches_arrive() -> None:
    running = threading.active_count()

    def batches() -> Iterator[torch.Tensor]:
        yield from numbered(2)
        raise OSError("no such image")

    with pytest.raises(OSError, match="no such image"):
        list(classify_batches(lambda batch: batch, batches(), 2))
    assert threading.active_count() == running


def test_a_caller_who_stops_early_leaves_no_thread() -> None:
    running = threading.active_count()
    results = classify_batches(lambda batch: batch, numbered(50), 3)
    next(results)
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert threading.active_count() == running


def test_seconds_are_counted_once_however_many_threads_are_busy() -> None:
    assert covered_seconds([]) == 0
    assert covered_seconds([(1.0, 3.0), (2.0, 5.0), (7.0, 8.0), (7.2, 7.5)]) == pytest.approx(5.0)


def test_an_interrupt_ends_the_threads() -> None:
    running, calls = threading.active_count(), []

    def run(batch: torch.Tensor) -> torch.Tensor:
        calls.append(int(batch[0, 0]))
        if len(calls) == 4:
            _thread.interrupt_main()
        time.sleep(0.02)
        return batch

    # Processes that a shell starts in the background ignore the signal.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(classify_batches(run, numbered(500), 2))
    finally:
        signal.signal(signal.SIGINT, usual)
    assert threading.active_count() == running
    assert len(calls) < 20


class Machine:
    """Takes ``call`` seconds for a batch and ``image`` for each image, ``cores`` batches at a time.

    It stands in for the clock of the measurement, so that a busy machine does not decide tests.
    """

    def __init__(self, call: float, image: float, cores: int = 1, first: float = 0.0) -> None:
        self.call, self.image, self.cores, self.first = call, image, cores, first
        self.seen: list[tuple[int, int]] = []

    def seconds(self, run: object, image_shape: object, batch_size: int, threads: int) -> float:
        first = (batch_size, threads) not in self.seen
        self.seen.append((batch_size, threads))
        turns = -(-threads // self.cores)
        return turns * (self.call + self.image * batch_size) + first * self.first

    def chosen(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Setting:
        monkeypatch.setattr(throughput, "_seconds", self.seconds)
        return measure_throughput(lambda images: images, SHAPE, **options)


def test_where_calls_are_dear_large_batches_win(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine(0.02, 0.0001).chosen(monkeypatch) == Setting(64, 1, pytest.approx(64 / 0.0264))


def test_where_calls_cost_next_to_nothing_the_smallest_batch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine(0.0004, 0.002).chosen(monkeypatch).batch_size == 8


@pytest.mark.parametrize(("cores", "chosen"), [(1, 1), (2, 2), (4, 4), (64, 8)])
def test_threads_are_as_many_as_help(monkeypatch: pytest.MonkeyPatch, cores: int, chosen: int) -> None:
    found = Machine(0.0, 0.002, cores).chosen(monkeypatch, threads=(1, 2, 4, 8))
    assert found == Setting(8, chosen, pytest.approx(500 * chosen))


def test_a_slow_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine(0.01, 0.0001, first=9.0).chosen(monkeypatch, batches=(4, 32)).batch_size == 32


def test_a_huge_model_is_tried_no_longer_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.1, 0.5, cores=2)
    found = machine.chosen(monkeypatch, threads=(1, 2), seconds=5.0)
    assert (found.batch_size, found.threads) == (8, 2)
    # One image at a time for the threads, then the smallest batch alone.
    assert set(machine.seen) == {(1, 1), (1, 2), (8, 2)}


def test_large_batches_are_tried_while_time_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.001, 0.01)
    machine.chosen(monkeypatch, seconds=1.2)
    assert {size for size, _ in machine.seen} >= {8, 16, 32}
    assert 64 not in {size for size, _ in machine.seen}


def test_every_thread_will_have_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"batches": (4, 8, 16), "threads": (1, 2, 4, 8)}
    found = Machine(0.01, 0.0, cores=8).chosen(monkeypatch, images=20, **options)
    assert (found.batch_size, found.threads) == (4, 4)
    found = Machine(0.01, 0.0, cores=8).chosen(monkeypatch, **options)
    assert (found.batch_size, found.threads) == (16, 8)


def test_sizes_beyond_the_devices_memory_are_left_out() -> None:
    def run(batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        time.sleep(0.01)
        return batch

    assert measure_throughput(run, SHAPE).batch_size == 16
    with pytest.raises(torch.OutOfMemoryError):
        measure_throughput(run, SHAPE, batches=(32, 64))


def test_a_small_model_is_measured_in_no_time() -> None:
    layer = torch.nn.Linear(16, 10)
    started = time.perf_counter()
    found = measure_throughput(lambda batch: layer(batch.flatten(1)), SHAPE, threads=(1, 2))
    assert time.perf_counter() - started < 3.0
    assert found.batch_size in BATCHES
    assert found.threads in (1, 2)
    assert found.images_per_second > 1000


def test_thread_counts() -> None:
    assert [thread_counts(cpus) for cpus in (1, 2, 3, 8, 12)] == [
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 4, 8),
        (1, 2, 4, 8, 12),
    ]
