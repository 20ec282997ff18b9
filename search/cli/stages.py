"""Progress of the steps before a search: what is being done, how far it is, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bitfront.search.cli.progress import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PLAIN_INTERVAL_S = 10.0
# Earlier shares and times say little of the time that is left.
LEAST_SHARE, LEAST_S = 0.02, 2.0


@contextmanager
def stage(console: Console, text: str) -> Iterator[Callable[[float], None]]:
    """Shows ``text`` while the block runs and ``text ... 3.2 s`` when it has ended well.

    On a terminal a bar moves, and has the share that is done and the time left once they are told; elsewhere
    a line is printed every few seconds.

    Args:
        console: Where to write, usually stderr.
        text: What is being done, such as ``preparing digits_deit on 128 images``.

    Yields:
        A function that takes the share that is done, from 0 to 1, and shows it.
    """
    started = time.monotonic()
    if console.is_terminal:
        with _bar(console, text) as bar:
            task = bar.add_task("", total=None, left="")
            yield lambda share: bar.update(
                task, total=1.0, completed=share, left=_left(share, time.monotonic() - started)
            )
    else:
        yield _PlainLines(console, text, started)
    console.print(f"{text} ... {time.monotonic() - started:.1f} s", soft_wrap=True)


@contextmanager
def _bar(console: Console, text: str) -> Iterator[Progress]:
    """A bar below the text, which may fill a line on its own."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    left = TextColumn("{task.fields[left]}")
    bar = Progress(BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), left, console=console)
    with Live(Group(Text(text), bar), console=console, transient=True, refresh_per_second=4):
        yield bar


class _PlainLines:
    """Prints a share now and then, where no line can be drawn anew."""

    def __init__(self, console: Console, text: str, started: float) -> None:
        self._console = console
        self._text = text
        self._started = self._printed = started

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if now - self._printed < PLAIN_INTERVAL_S:
            return
        self._printed = now
        left = _left(share, now - self._started)
        parts = [f"{self._text} ... {100 * share:.0f} % after {duration(now - self._started)}", left]
        self._console.print("; ".join(part for part in parts if part), soft_wrap=True)


def _left(share: float, elapsed: float) -> str:
    """The time left in words, at the pace so far; empty while it cannot be told."""
    if not LEAST_SHARE <= share < 1.0 or elapsed < LEAST_S:
        return ""
    return f"about {duration(elapsed * (1.0 - share) / share)} left"
