"""Tables that other work disturbed are measured again while time is left."""

from __future__ import annotations

import pytest

from bitfront.evaluators.latency import steadiness
from bitfront.evaluators.latency.steadiness import entry_error, is_steady, steadiest, unsteadiness
from bitfront.evaluators.latency.table import Latency, LatencyTable, sum_error, sums_miss
from bitfront.evaluators.latency.timed_runtime import TimingProtocol


def table(spread: float) -> LatencyTable:
    entry = Latency(1.0, spread)
    return LatencyTable({("s", (8, 8, 8)): entry}, entry, entry, 1, "measured:abacus")


class Clock:
    """Measurements move it."""

    def __init__(self, *found: LatencyTable, seconds: float = 1.0) -> None:
        self.now, self.found, self.seconds = 0.0, list(found), seconds
        self.budgets: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def measure(self, protocol: TimingProtocol) -> LatencyTable:
        self.budgets.append(protocol.budget_seconds)
        self.now += self.seconds
        return self.found.pop(0)


def measured(monkeypatch: pytest.MonkeyPatch, clock: Clock, seconds: float) -> LatencyTable:
    monkeypatch.setattr(steadiness, "time", clock)
    return steadiest(clock.measure, unsteadiness, TimingProtocol(budget_seconds=seconds))


def test_a_steady_table_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(table(2.0), table(1.0))
    assert measured(monkeypatch, clock, 10.0) == table(2.0)
    assert clock.budgets == [6.0]


def test_a_noisy_one_is_measured_again_until_it_is_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(table(50.0), table(30.0), table(1.0), table(0.0))
    assert measured(monkeypatch, clock, 10.0) == table(1.0)
    assert clock.budgets == [6.0, 9.0, 8.0]


def test_the_best_is_kept_where_time_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(table(50.0), table(30.0), table(40.0), seconds=4.0)
    assert measured(monkeypatch, clock, 10.0) == table(30.0)
    assert clock.budgets == [6.0, 6.0, 2.0]


def test_it_is_measured_three_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(table(50.0), table(40.0), table(30.0), table(1.0), seconds=0.1)
    assert measured(monkeypatch, clock, 10.0) == table(30.0)


def test_no_time_left_is_no_reason_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(table(50.0), seconds=100.0)
    assert measured(monkeypatch, clock, 2.0) == table(50.0)


def test_entries_and_sums_make_a_table_unsteady() -> None:
    assert is_steady(table(2.0), [0.01, -0.02])
    assert not is_steady(table(2.0), [0.07, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert not is_steady(table(2.0), [0.04, -0.04])
    assert not is_steady(table(50.0))
    assert unsteadiness(table(2.0), [0.01]) == 0.0
    assert unsteadiness(table(2.0), [0.05]) == pytest.approx(0.05, rel=0.05)
    assert entry_error(table(2.0)) == pytest.approx(Latency(1.0, 2.0).relative_error)


def test_errors_of_sums() -> None:
    assert sum_error([]) == 0.0
    assert sum_error([0.03, -0.04]) == pytest.approx(0.0354, rel=0.01)
    assert not sums_miss([])
    assert sums_miss([0.061])


def test_an_error_makes_the_spread_that_tells_it() -> None:
    assert Latency.with_error(2.0, 0.013).relative_error == pytest.approx(0.013)
