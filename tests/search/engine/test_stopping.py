"""What ends a search: the guard that turns signals into a flag, where there are signals to turn."""

import signal
import subprocess
import sys
import threading

from bitfront.search.engine.stopping import InterruptGuard

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


def test_the_first_interrupt_is_a_flag_and_the_second_one_an_exception():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_TWICE], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["interrupted"]


def test_outside_the_main_thread_the_guard_does_nothing():
    before, found = signal.getsignal(signal.SIGINT), []

    def guarded():
        with InterruptGuard() as guard:
            found.append((guard.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    assert found == [(False, before)]
