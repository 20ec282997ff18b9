"""Interleaved timing under a clock that the test moves."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from bitfront.evaluators.latency import timed_runtime as timing
from bitfront.evaluators.latency.timed_runtime import BURST, TimingProtocol, time_interleaved


class Clock:
    """A clock that stands still until a run moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def run(self, name: str, seconds: Sequence[float]) -> Callable[[], None]:
        """Takes the given times in turn, over and over."""
        durations = itertools.cycle(seconds)

        def run() -> None:
            self.calls.append(name)
            self.now += next(durations)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(timing, "time", found)
    return found


def test_runs_take_turns_in_bursts(clock: Clock) -> None:
    runs = {name: clock.run(name, [0.001]) for name in "abcd"}
    time_interleaved(runs, TimingProtocol(warmup=4, iterations=25, repeats=4, budget_seconds=60.0))
    # One round to compile, one to tell the pace, four to warm up; then 25 runs in three bursts, four times.
    before, timed = clock.calls[: 4 * 6], clock.calls[4 * 6 :]
    assert "".join(before) == "abcd" * 6
    assert Counter(timed) == dict.fromkeys("abcd", 4 * (25 + 3))
    bursts = [(name, len(list(run))) for name, run in itertools.groupby(timed)]
    assert max(length for _, length in bursts) <= 2 * (BURST + 1)
    # Who runs before a run changes, so that none always inherits the same caches.
    pairs = {(first, second) for (first, _), (second, _) in itertools.pairwise(bursts)}
    assert pairs == set(itertools.permutations("abcd", 2))


def test_medians_and_spread_by_hand(clock: Clock) -> None:
    protocol = TimingProtocol(warmup=1, iterations=3, repeats=2, budget_seconds=1e9, fewest=1)
    # Three calls before the first repeat; a repeat is a burst whose first run (80 and 90 s) is not timed.
    seconds = [50.0, 60.0, 70.0, 80.0, 1.0, 2.0, 9.0, 90.0, 4.0, 5.0, 3.0]
    runs = {"uneven": clock.run("uneven", seconds), "even": clock.run("even", [0.25])}
    found = time_interleaved(runs, protocol)
    assert found["even"].milliseconds == pytest.approx(250.0)
    assert found["even"].spread_percent == pytest.approx(0.0)
    # The median of 1 2 3 4 5 9; the repeats' medians are 2 and 4.
    assert found["uneven"].milliseconds == pytest.approx(3500.0)
    assert found["uneven"].spread_percent == pytest.approx(100.0 * (4.0 - 2.0) / 3.5)


def test_the_protocol_is_kept_where_the_budget_allows() -> None:
    assert TimingProtocol().fitted(0.01) == TimingProtocol()
    assert (TimingProtocol().warmup, TimingProtocol().iterations, TimingProtocol().repeats) == (50, 100, 5)


@pytest.mark.parametrize(("seconds", "warmup", "iterations"), [(0.06, 41, 82), (0.2, 12, 24), (1.0, 3, 4)])
def test_the_protocol_shrinks_to_the_budget(seconds: float, warmup: int, iterations: int) -> None:
    fitted = TimingProtocol(budget_seconds=30.0).fitted(seconds)
    assert (fitted.warmup, fitted.iterations, fitted.repeats) == (warmup, iterations, 5)


@pytest.mark.parametrize("seconds", [0.051, 0.06, 0.09, 0.2, 0.5, 1.0])
def test_the_budget_holds_with_the_untimed_runs(clock: Clock, seconds: float) -> None:
    time_interleaved({"a": clock.run("a", [seconds])}, TimingProtocol(budget_seconds=30.0))
    # Besides the two rounds that compile and tell the pace; of each repeat less than two runs are left over.
    spent = clock.now - 2 * seconds
    assert 30.0 - (5 * 2 + 1) * seconds < spent <= 30.0 + 1e-9


def test_the_pace_is_that_of_the_second_round(clock: Clock) -> None:
    # The first run of a run compiles, and would shrink the protocol to its least.
    runs = {"a": clock.run("a", [1000.0, *[0.001] * 10_000])}
    time_interleaved(runs, TimingProtocol(warmup=50, iterations=100, repeats=5, budget_seconds=1.0))
    assert len(clock.calls) == 2 + 50 + 5 * (100 + 10)


def test_the_protocol_never_shrinks_below_the_fewest(clock: Clock) -> None:
    runs = {"slow": clock.run("slow", [100.0])}
    time_interleaved(runs, TimingProtocol(budget_seconds=1.0, fewest=4))
    assert len(clock.calls) == 2 + 4 + 5 * (1 + 4)


def test_progress_is_the_share_of_runs(clock: Clock) -> None:
    shares: list[float] = []
    protocol = TimingProtocol(warmup=3, iterations=12, repeats=2, budget_seconds=60.0)
    time_interleaved({"a": clock.run("a", [0.01])}, protocol, shares.append)
    # Three warm-up runs; then twice a burst of ten and one of two, each after a run that is not timed.
    assert shares == [n / 31 for n in (1, 2, 3, 14, 17, 28, 31)]
