"""Times in pairs: what slows a moment is taken out, what one run takes is not."""

from __future__ import annotations

import pytest

from bitfront.evaluators.latency import timed_runtime as timing
from bitfront.evaluators.latency.pairs import paired
from bitfront.evaluators.latency.timed_runtime import TimingProtocol, time_interleaved


def test_slow_moments_are_taken_out() -> None:
    slow = [1.0, 1.0, 3.0, 3.0, 1.0]
    times = {"float": [[2.0 * s for s in slow]], "other": [[1.0 * s for s in slow]]}
    found = paired(times, "float", 2)
    assert found["float"] == times["float"]
    assert found["other"] == [pytest.approx([1.0] * 5)]


def test_a_run_that_is_slow_by_itself_stays_slow() -> None:
    times = {"float": [[2.0] * 4], "other": [[1.0, 1.0, 4.0, 4.0]]}
    assert paired(times, "float", 2)["other"] == [[1.0, 1.0, 4.0, 4.0]]


def test_runs_are_timed_beside_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def perf_counter(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)

    def run(seconds: float) -> None:
        clock.now += seconds * (2.0 if int(5 * clock.now) % 2 else 1.0)

    runs = {"float": lambda: run(4e-3), "other": lambda: run(1e-3)}
    protocol = TimingProtocol(warmup=1, iterations=200, repeats=2, budget_seconds=1e9)
    alone = time_interleaved(runs, protocol)
    found = time_interleaved(runs, protocol, beside="float")
    assert found["other"].milliseconds / found["float"].milliseconds == pytest.approx(0.25, rel=0.01)
    assert abs(found["other"].milliseconds - 1.0) <= abs(alone["other"].milliseconds - 1.0) + 1e-9
