"""Progress on a terminal: the live display of a running search, and of the steps before it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from bitfront.search.problem.wording import duration, megabytes, milliseconds, quality
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from rich.console import Console

    from bitfront.search.engine.protocols import Progress
    from bitfront.search.problem.trial import Trial

SEARCH_INTERVAL_S = 5.0
STAGE_INTERVAL_S = 10.0
# Before so much of a step is done, and so long after its first report, its pace says little.
LEAST_SHARE, LEAST_S = 0.1, 5.0
# By how much, as a multiple, the paces of a whole step and of its last half may differ.
MOST_UNEVEN = 2.0


class SearchProgress:
    """Shows how far a search is and what it has found: a context manager, and a ``SearchObserver``.

    On a terminal a bar with the time left and a line of figures are kept up to date; elsewhere a line is
    printed every few seconds.

    Args:
        total: Evaluations in all.
        console: Where to write, usually stderr.
    """

    def __init__(self, total: int, console: Console) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._total = total
        self._console = console
        self._failed = 0
        self._printed = -math.inf
        self._line = ""
        columns = (TextColumn("searching"), BarColumn(), MofNCompleteColumn(), TextColumn("evaluations"))
        self._bar = Progress(*columns, TimeElapsedColumn(), TextColumn("{task.description}"), console=console)
        self._task = self._bar.add_task("", total=total)
        self._live = Live(console=console, transient=True, refresh_per_second=4)

    def __enter__(self) -> SearchProgress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if kind is None and self._line:
            self._console.print(self._line, soft_wrap=True)

    def __call__(self, progress: Progress, trial: Trial | None = None) -> None:
        """Shows the state after an evaluation or a batch."""
        self._failed += trial is not None and trial.state == "failed"
        done, figures = progress.evaluations, self._figures(progress)
        left = "" if progress.remaining_s is None else f"{duration(progress.remaining_s)} left"
        self._line = f"{done}/{self._total} evaluations; {figures}"
        if self._console.is_terminal:
            from rich.console import Group
            from rich.text import Text

            self._bar.update(self._task, completed=done, description=left)
            self._live.update(Group(self._bar, Text(figures, style="dim")))
        elif time.monotonic() - self._printed >= SEARCH_INTERVAL_S:
            self._printed = time.monotonic()
            parts = [f"{done}/{self._total} evaluations", left, figures]
            self._console.print("; ".join(part for part in parts if part), soft_wrap=True)

    def _figures(self, progress: Progress) -> str:
        parts = [f"{len(progress.front)} on the front"]
        if progress.front:
            values = [trial.values for trial in progress.front]
            sought = next((objective for objective in progress.objectives if not objective.analytic), None)
            if sought is not None:
                choose = max if sought.direction == "maximise" else min
                parts.append(f"best {quality(choose(map(sought.deciding, values)), sought.unit)}")
            parts.append(f"smallest {megabytes(min(found['size_bytes'] for found in values))} MB")
            parts.append(f"fastest {milliseconds(min(found['latency_ms'] for found in values))} ms")
        parts += [f"hypervolume {progress.hypervolume:.4f}", count_of(progress.trials, "trial")]
        return ", ".join(parts + ([f"{self._failed} failed"] if self._failed else []))


class ConsoleReporter:
    """Shows the steps of long work on a console: a bar for each, and notes as lines of their own.

    Args:
        console: Where to write, usually stderr.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, text: str) -> Iterator[Callable[[float], None]]:
        """Shows ``text`` while the block runs and ``text ... 3.2 s`` when it has ended well.

        On a terminal a bar moves, and has the share that is done and the time left once they are told;
        elsewhere a line is printed every few seconds.

        Args:
            text: What is being done, such as ``preparing digits_deit on 128 images``.

        Yields:
            A function that takes the share that is done, from 0 to 1, and shows it.
        """
        started = time.monotonic()
        console = self._console
        with _bar(console, text) if console.is_terminal else _lines(console, text, started) as share_done:
            yield share_done
        self._console.print(f"{text} ... {time.monotonic() - started:.1f} s", soft_wrap=True)

    def search(self, evaluations: int) -> SearchProgress:
        """Shows a search of at most so many evaluations."""
        return SearchProgress(evaluations, self._console)

    def note(self, text: str) -> None:
        """Prints a line."""
        self._console.print(text, soft_wrap=True)


def stderr_reporter() -> ConsoleReporter:
    """Shows progress where commands show it."""
    from bitfront.search.reports.console import stderr_console

    return ConsoleReporter(stderr_console())


@contextmanager
def _bar(console: Console, text: str) -> Iterator[Callable[[float], None]]:
    """A bar below the text, which may fill a line on its own."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    left = TextColumn("{task.fields[left]}")
    bar = Progress(BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), left, console=console)
    with Live(Group(Text(text), bar), console=console, transient=True, refresh_per_second=4):
        task = bar.add_task("", total=None, left="")
        pace = _Pace()
        yield lambda share: bar.update(
            task, total=1.0, completed=share, left=pace.left(share, time.monotonic())
        )


@contextmanager
def _lines(console: Console, text: str, started: float) -> Iterator[Callable[[float], None]]:
    """Lines now and then, where none can be redrawn."""
    printed, pace = started, _Pace()

    def tell(share: float) -> None:
        nonlocal printed
        now = time.monotonic()
        left = pace.left(share, now)
        if now - printed >= STAGE_INTERVAL_S:
            printed = now
            parts = [f"{text} ... {100 * share:.0f} % after {duration(now - started)}"]
            console.print("; ".join(filter(None, [*parts, left])), soft_wrap=True)

    yield tell


class _Pace:
    """How long a step has left, where that can be told.

    Steps begin with what is done once, such as loading, and parts of them take longer than others: the time
    left is told once a tenth is done, by the pace since the first report, and only while the last half of
    what is done went at about the same pace as all of it.
    """

    def __init__(self) -> None:
        self._reports: list[tuple[float, float]] = []  # shares and when they were told

    def left(self, share: float, now: float) -> str:
        """The time left in words; empty while it cannot be told.

        Args:
            share: What is done.
            now: The time, in seconds.
        """
        if not self._reports or share - self._reports[-1][0] >= LEAST_SHARE / 10:
            self._reports.append((share, now))
        first, began = self._reports[0]
        done, passed = share - first, now - began
        if share >= 1.0 or done < LEAST_SHARE - 1e-9 or passed < LEAST_S:
            return ""
        middle, then = max(entry for entry in self._reports if entry[0] <= first + done / 2)
        whole, late = passed / done, (now - then) / (share - middle)
        if max(whole, late) > MOST_UNEVEN * min(whole, late):
            return ""
        return f"about {duration((1.0 - share) * late)} left"
