"""What ends a search: the guard that turns signals into a flag, where there are signals to turn."""

import signal
import threading

import pytest

from bitfront.search.engine.stopping import InterruptGuard


def test_the_first_interrupt_is_a_flag_and_the_second_one_an_exception():
    before = signal.getsignal(signal.SIGINT)
    with InterruptGuard() as guard:
        signal.raise_signal(signal.SIGINT)
        assert guard.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_outside_the_main_thread_the_guard_does_nothing():
    before, found = signal.getsignal(signal.SIGINT), []

    def guarded():
        with InterruptGuard() as guard:
            found.append((guard.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    assert found == [(False, before)]
