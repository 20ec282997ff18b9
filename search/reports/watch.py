"""A search as its folder shows it while it runs: how far it is, what it has found, and what it rejected."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.search.export.selection import default_choice
from bitfront.search.problem.wording import duration, points
from bitfront.search.reports.front_rows import front_rows, shortlist_notes, star_note
from bitfront.search.reports.front_table import STAR, front_document, front_table, heading
from bitfront.search.runs.columns import violation_column
from bitfront.search.runs.files import TRIALS, read_json
from bitfront.search.runs.journal import JOURNAL, evaluations_recorded
from bitfront.search.runs.listing import RUNNING, run_state
from bitfront.search.runs.progress_file import RecordedProgress, read_progress
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from rich.console import RenderableType

# Heights of a curve in one line of text.
_BARS = "\N{LOWER ONE EIGHTH BLOCK}\N{LOWER ONE QUARTER BLOCK}\N{LOWER THREE EIGHTHS BLOCK}"
_BARS += "\N{LOWER HALF BLOCK}\N{LOWER FIVE EIGHTHS BLOCK}\N{LOWER THREE QUARTERS BLOCK}"
_BARS += "\N{LOWER SEVEN EIGHTHS BLOCK}\N{FULL BLOCK}"
_CURVE = 40
_LEAST_LACK = 1e-6
_PREPARING = "preparing the model; nothing has been evaluated yet"
_MEASURING = "the search has ended; the finished front is being measured"


@dataclass(frozen=True)
class Sight:
    """What a run folder shows at a moment.

    Attributes:
        name: Of the run.
        state: ``running``, why it stopped, or that it was killed.
        evaluations: Evaluations done.
        budget: Evaluations asked for; 0 while that is not known.
        run: Its tables; None before the first of them.
        progress: What the search wrote of itself; None for earlier versions and before the first evaluation.
        history: Evaluations and the hypervolume after them.
        remaining_s: Search time left, in seconds; None where it cannot be told.
        measuring: Whether it runs, but has no more to evaluate.
    """

    name: str
    state: str
    evaluations: int
    budget: int
    run: RecordedRun | None
    progress: RecordedProgress | None
    history: tuple[tuple[int, float], ...]
    remaining_s: float | None
    measuring: bool

    @property
    def running(self) -> bool:
        """Whether a process writes to the run."""
        return self.state == RUNNING

    @classmethod
    def of(cls, root: Path, name: str) -> Sight:
        """Looks at a run; nothing of it is written or held.

        Raises:
            UserError: There is no such run, or a file of it is damaged.
        """
        folder = root / name
        run = None
        if (folder / TRIALS).exists() or not folder.exists():
            run = RecordedRun.read(root, name)
        summary = run.summary if run else {}
        spec = run.spec if run else read_json(folder / "spec.json", dict)
        progress = None
        with suppress(UserError):  # what it says beside the tables is not worth an end
            progress = read_progress(folder)
        state = run_state(folder, summary)
        states = run.trials["state"] if run else ()
        recorded = max(
            evaluations_recorded(folder / JOURNAL),
            progress.evaluations if progress else 0,
            sum(one != "rejected" for one in states),
        )
        ended = bool(summary) and int(summary.get("evaluations") or 0) >= recorded
        history = [(step.evaluations, step.hypervolume) for step in progress.history] if progress else []
        history = history or [(int(n), float(share)) for n, share in summary.get("hypervolume_history") or ()]
        left = None
        if progress and progress.remaining_s is not None and state == RUNNING and not ended:
            left = max(0.0, progress.remaining_s - (time.time() - progress.written))
        budget = int(spec.get("evaluations") or 0)
        measuring = state == RUNNING and ended
        return cls(name, state, recorded, budget, run, progress, tuple(history), left, measuring)

    @property
    def rejected(self) -> dict[str, int]:
        """How many candidates were rejected, by the constraint that they violate; one may violate several."""
        found: Counter[str] = Counter()
        if self.run is not None:
            trials = self.run.trials[self.run.trials["state"] == "rejected"]
            start = violation_column("").name
            for column in (name for name in trials.columns if str(name).startswith(start)):
                found[str(column).removeprefix(start)] += int((trials[column] > 0.0).sum())
        return {name: count for name, count in found.most_common() if count}

    def count(self, state: str) -> int:
        """How many trials ended in a state, such as ``failed``."""
        return 0 if self.run is None else int((self.run.trials["state"] == state).sum())


def watch_document(seen: Sight) -> dict[str, Any]:
    """The same for machines; ``front`` is that of ``front --json``."""
    progress = seen.progress
    return {
        "run": seen.name,
        "state": seen.state,
        "running": seen.running,
        "measuring": seen.measuring,
        "evaluations": seen.evaluations,
        "evaluations_budget": seen.budget or None,
        "elapsed_s": progress.elapsed_s if progress else None,
        "remaining_s": seen.remaining_s,
        "hypervolume": seen.history[-1][1] if seen.history else None,
        "hypervolume_history": seen.history,
        "rejected": seen.count("rejected"),
        "rejected_by": seen.rejected,
        "failed": seen.count("failed"),
        "screened": seen.count("screened"),
        "front": front_document(seen.run) if seen.run is not None else None,
    }


def watch_view(seen: Sight, width: int, plain: bool = False) -> RenderableType:
    """What a terminal shows.

    Args:
        seen: The run.
        width: Columns of the terminal.
        plain: Whether to leave out lines of the table, for a file or a pipe.
    """
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    title = heading(seen.run) if seen.run is not None else f"{seen.name} ({seen.state})"
    parts: list[RenderableType] = [Text(title)]
    if seen.running and seen.budget and not plain:
        parts.append(ProgressBar(total=seen.budget, completed=seen.evaluations, width=min(width, 80)))
    parts += [Text(line) for line in _lines(seen)]
    run = seen.run
    if run is not None and not run.front.empty:
        every = front_rows(run)
        rows = [row for row in every if row.listed]
        star = f"{STAR} {star_note(run, default_choice(run))}"
        table = front_table(run, rows, plain, width)
        parts += [Text(""), table, Text("")]
        parts += [Text(line) for line in (star, *shortlist_notes(run, every))]
    return Group(*parts)


def _lines(seen: Sight) -> list[str]:
    """Figures, the curve of the hypervolume, and what became of other candidates."""
    done = f"{seen.evaluations}/{seen.budget}" if seen.budget else f"{seen.evaluations}"
    parts = [f"{done} evaluations"]
    if seen.progress is not None:
        parts.append(f"{duration(seen.progress.elapsed_s)} searched")
    if seen.remaining_s is not None:
        parts.append(f"about {duration(seen.remaining_s)} left")
    lines = [", ".join(parts)]
    if seen.running and seen.run is None:
        lines.append(_PREPARING)
    elif seen.measuring:
        lines.append(_MEASURING)
    if seen.history:
        first, last = seen.history[0], seen.history[-1]
        lines.append(
            f"hypervolume {curve([share for _, share in seen.history])} {last[1]:.4f}, "
            f"{first[1]:.4f} after {count_of(first[0], 'evaluation')}"
        )
    if seen.run is not None and seen.run.front.empty:
        lines.append(f"{points(0)} on the front so far: no trial has met the limits")
    return [*lines, *_others(seen)]


def _others(seen: Sight) -> list[str]:
    """Candidates that are not on the way to the front, and why."""
    parts = []
    if rejected := seen.count("rejected"):
        reasons = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in seen.rejected.items())
        parts.append(f"{rejected} rejected before evaluation" + f" ({reasons})" * bool(reasons))
    if screened := seen.count("screened"):
        parts.append(f"{screened} cut short, as they cannot reach the front")
    if failed := seen.count("failed"):
        parts.append(f"{failed} failed")
    return ["; ".join(parts)] if parts else []


def curve(shares: Sequence[float], most: int = _CURVE) -> str:
    """Shares of a box as a line of bars, by the logarithm of what they lack of all of it.

    The first steps of a search would dwarf all others as they are.
    """
    heights = [-math.log(max(1.0 - share, _LEAST_LACK)) for share in shares]
    if len(heights) > most:
        heights = [heights[round(i * (len(heights) - 1) / (most - 1))] for i in range(most)]
    low, span = min(heights), max(heights) - min(heights)
    last = len(_BARS) - 1
    return "".join(_BARS[round(last * ((height - low) / span if span > 0.0 else 1.0))] for height in heights)
