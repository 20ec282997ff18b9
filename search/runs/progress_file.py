"""How far a search is, as a file of its run folder that others read while it runs."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bitfront.search.engine.protocols import Progress
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.files import damaged_file, read_json
from bitfront.search.runs.folder import RunFolder
from bitfront.spaces import UserError
from bitfront.spaces.fields import check_fields

PROGRESS = "progress.json"
# Written at most so often, in seconds, with at most so many steps of its history.
INTERVAL_S, MOST_STEPS = 2.0, 1000


class Step(NamedTuple):
    """The front at some time of a search.

    Attributes:
        evaluations: Evaluations done.
        hypervolume: Share of the box that the front dominates, by estimates; larger is better.
        elapsed_s: Search time so far, in seconds, with that of earlier parts of the run.
    """

    evaluations: int
    hypervolume: float
    elapsed_s: float


@dataclass(frozen=True)
class RecordedProgress:
    """What ``progress.json`` says.

    Attributes:
        evaluations: Evaluations done.
        budget: Evaluations asked for.
        trials: Trials, among them candidates that were rejected.
        front_points: Points on the front.
        generation: Batches whose candidates all have their trials.
        hypervolume: Of the front.
        elapsed_s: Search time so far, in seconds.
        remaining_s: Time left when it was written, in seconds; None while it cannot be told.
        history: The growth of the front, the first evaluations first.
        written: When it was written, in seconds since the epoch.
    """

    evaluations: int
    budget: int
    trials: int
    front_points: int
    generation: int
    hypervolume: float
    elapsed_s: float
    remaining_s: float | None
    history: tuple[Step, ...]
    written: float = 0.0


def read_progress(folder: Path) -> RecordedProgress | None:
    """How far the search of a run folder is; None for runs of earlier versions and before the first step.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / PROGRESS
    document = read_json(path, dict, absent={})
    if not document:
        return None
    try:
        history = tuple(Step(int(n), float(share), float(s)) for n, share, s in document.pop("history"))
        check_fields(RecordedProgress, document)
        return RecordedProgress(**document, history=history, written=path.stat().st_mtime)
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error


class ProgressWriter:
    """A ``SearchObserver`` that writes ``progress.json`` every few seconds.

    Args:
        folder: The run folder; the history of an earlier part of the run is gone on with.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._history: list[Step] = []
        with suppress(UserError):  # a damaged file is written again
            known = read_progress(folder.path)
            self._history = list(known.history) if known else []
        self._written = -math.inf

    def __call__(self, progress: Progress, trial: Trial | None = None) -> None:  # noqa: ARG002 - an observer's
        """Writes now and then."""
        if time.monotonic() - self._written >= INTERVAL_S:
            self.write(progress)

    def write(self, progress: Progress) -> None:
        """Adds a step to the history, and writes.

        Raises:
            BitfrontError: The file cannot be written.
        """
        self._written = time.monotonic()
        self._add(Step(progress.evaluations, progress.hypervolume, round(progress.elapsed_s, 3)))
        document = {
            "evaluations": progress.evaluations,
            "budget": progress.evaluations_budget,
            "trials": progress.trials,
            "front_points": len(progress.front),
            "generation": progress.generation,
            "hypervolume": progress.hypervolume,
            "elapsed_s": round(progress.elapsed_s, 3),
            "remaining_s": progress.remaining_s,
            "history": self._history,
        }
        self._folder.write_text(PROGRESS, json.dumps(document) + "\n")

    def _add(self, step: Step) -> None:
        """Replaces what is not before a step; every second one goes where they become too many."""
        while self._history and self._history[-1].evaluations >= step.evaluations:
            self._history.pop()
        self._history.append(step)
        if len(self._history) > MOST_STEPS:
            self._history = self._history[::-2][::-1]
