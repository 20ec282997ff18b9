"""What ends a search: the guard that turns signals into a flag, where there are signals to turn."""

import signal
import subprocess
import sys
import threading

import pytest

from bitfront.search.engine import stopping
from bitfront.search.engine.stopping import Budget, InterruptGuard

# In a process of its own: the one that runs the tests may hold SIGINT for itself.
INTERRUPTED_TWICE = """
import signal
from bitfront.search.engine.stopping import InterruptGuard

signal.signal(signal.SIGINT, signal.default_int_handler)
with InterruptGuard() as guard:
    signal.raise_signal(signal.SIGINT)
    assert guard.requested
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted")
assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
"""
# In one of its own, too: a hang-up that the guard let through would end the tests with it.
CLOSED = """
import signal
from bitfront.search.engine.stopping import InterruptGuard

signal.signal(signal.SIGHUP, signal.SIG_DFL)
with InterruptGuard() as guard:
    signal.raise_signal(signal.SIGHUP)
    assert guard.requested
    print("interrupted")
assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with InterruptGuard() as guard:
    signal.raise_signal(signal.SIGHUP)
    assert not guard.requested
    print("ignored")
"""


def test_the_first_interrupt_is_a_flag_and_the_second_one_an_exception():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_TWICE], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["interrupted"]


def test_a_closed_terminal_is_an_interrupt_unless_it_is_ignored():
    done = subprocess.run([sys.executable, "-c", CLOSED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["interrupted", "ignored"]


def test_outside_the_main_thread_the_guard_does_nothing():
    before, found = signal.getsignal(signal.SIGINT), []

    def guarded():
        with InterruptGuard() as guard:
            found.append((guard.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    assert found == [(False, before)]


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(stopping.time, "monotonic", lambda: Clock.now)
    return Clock


def test_what_is_left_is_told_by_the_pace_after_the_workers_have_begun(clock):
    """Four workers take a minute to load the model, and ten seconds for an evaluation."""
    budget = Budget(104)
    told = []
    for wave in range(26):
        clock.now = 70.0 + 10.0 * wave
        told += [budget.remaining_s(done, done, 4) for done in range(4 * wave + 1, 4 * wave + 5)]
    true = [10.0 * (26 - 1 - done // 4) for done in range(104)]
    assert told[:7] == [None] * 7
    for done, seconds in enumerate(told[7:], start=7):
        assert 0.5 * true[done] - 10.0 <= seconds <= 2.0 * true[done] + 10.0


def test_what_is_left_is_no_longer_than_the_time_budget(clock):
    budget = Budget(1000, seconds=100.0)
    for done in range(1, 6):
        clock.now = 10.0 * done
        left = budget.remaining_s(done, done)
    assert left == 50.0


def test_a_resumed_part_takes_its_own_pace(clock):
    budget = Budget(100, spent_s=1000.0)
    left = []
    for done_now in range(6):
        clock.now = 2.0 * done_now
        left.append(budget.remaining_s(50 + done_now, done_now))
    assert left[:4] == [None] * 4
    assert left[4:] == [92.0, 90.0]
