"""All times of an interleaved timing, and stopping one."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from bitfront.evaluators.latency import timed_runtime as timing
from bitfront.evaluators.latency.timed_runtime import (
    BURST,
    TimingProtocol,
    sample_interleaved,
    spread_percent,
)

PROTOCOL = TimingProtocol(warmup=3, iterations=12, repeats=3, budget_seconds=1e9)


class Clock:
    """Stands still until a run moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(timing, "time", found)
    return found


def test_every_time_is_kept_by_repeat(clock: Clock) -> None:
    runs = itertools.count()

    def run() -> None:
        clock.now += 1e-3 * (1 + next(runs))

    found = sample_interleaved({"a": run}, PROTOCOL)["a"]
    assert found.warmup == 3
    # Five runs before the first burst, and one before each burst of ten and of two.
    first = [*range(7, 17), 18, 19]
    expected = [[n + 14 * repeat for n in first] for repeat in range(3)]
    assert [pytest.approx(list(repeat)) for repeat in found.repeats] == expected


@pytest.mark.parametrize(
    ("rounds", "repeats"), [(1, [BURST]), (2, [12]), (3, [12, BURST]), (6, [12, 12, 12])]
)
def test_all_have_run_equally_often_when_it_is_stopped(clock: Clock, rounds: int, repeats: list[int]) -> None:
    calls: Counter[str] = Counter()
    asked = itertools.count()

    def run(name: str):
        def run() -> None:
            calls[name] += 1
            clock.now += 1e-3

        return run

    # It is asked before each of the three rounds of warm-up, and before each round of bursts.
    found = sample_interleaved(
        {name: run(name) for name in "abc"}, PROTOCOL, stopped=lambda: next(asked) >= 3 + rounds
    )
    assert len(set(calls.values())) == 1
    for samples in found.values():
        assert [len(repeat) for repeat in samples.repeats] == repeats


@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_nothing_is_found_when_it_is_stopped_in_the_warm_up(clock: Clock, rounds: int) -> None:
    asked = itertools.count()

    def run() -> None:
        clock.now += 1e-3

    assert sample_interleaved({"a": run}, PROTOCOL, stopped=lambda: next(asked) >= rounds) == {}


def test_spread_is_the_range_of_medians() -> None:
    assert spread_percent([[1.0, 2.0, 9.0], [4.0, 5.0, 3.0]]) == pytest.approx(100.0 * 2.0 / 3.5)
    assert spread_percent([[7.0, 1.0, 3.0]]) == 0.0
