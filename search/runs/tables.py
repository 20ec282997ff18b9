"""The tables of a run folder, trials.csv and front.csv, kept up to date while a search runs."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bitfront.search.engine.protocols import Progress
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.folder import RunFolder
from bitfront.search.runs.study import StudyRecord

FRONT, TRIALS = "front.csv", "trials.csv"
LEADING = (
    "trial",
    "digest",
    "top1",
    "loss",
    "latency_ms",
    "latency_source",
    "latency_measured_ms",
    "size_bytes",
    "test_top1",
)
FURTHER = ("images", "top5", "kl", "agreement", "lost", "won")
FINAL = ("test_lost", "test_won")
_COUNTS = ("images", "size_bytes", "lost", "won", "test_lost", "test_won")
_DECIMALS = {
    "top1": 4,
    "top5": 4,
    "agreement": 4,
    "test_top1": 4,
    "loss": 6,
    "kl": 6,
    **dict.fromkeys(_COUNTS, 0),
}


@dataclass(frozen=True)
class FinalMeasurement:
    """What was measured on a point of the finished front.

    Attributes:
        latency_measured_ms: Latency of the whole model in milliseconds; None where it was not measured.
        test_top1: Accuracy on the test split, in percent; None where it was not measured.
        test_lost: Images of the test split that only the float model gets right; None where not measured.
        test_won: Images of the test split that only this point gets right; None where not measured.
    """

    latency_measured_ms: float | None = None
    test_top1: float | None = None
    test_lost: int | None = None
    test_won: int | None = None


class RunTables:
    """Writes the tables of a run, each as a whole.

    Args:
        folder: The run folder.
        problem: What was searched: gives gene and constraint columns.
    """

    def __init__(self, folder: RunFolder, problem: SearchProblem) -> None:
        self._folder = folder
        self._problem = problem
        self._genes = problem.space.gene_names

    def write(
        self,
        trials: Iterable[Trial],
        front: Iterable[Trial],
        finals: Mapping[int, FinalMeasurement] | None = None,
    ) -> None:
        """Writes both tables.

        Args:
            trials: All trials, by number.
            front: The front, by size.
            finals: By trial number, what was measured on the finished front.

        Raises:
            BitfrontError: The tables cannot be written.
        """
        measured = finals or {}
        self._folder.write_text(FRONT, self.front_csv(front, measured))
        self._folder.write_text(TRIALS, self.trials_csv(trials, measured))

    def front_csv(self, front: Iterable[Trial], finals: Mapping[int, FinalMeasurement]) -> str:
        """One row for each front point: figures, then the bits of every gene."""
        return _csv([*LEADING, *self._genes], (self._row(trial, finals) for trial in front))

    def trials_csv(self, trials: Iterable[Trial], finals: Mapping[int, FinalMeasurement]) -> str:
        """The same for every trial, with its state, every violation and all else that was measured."""
        names = self._problem.constraint_names
        header = [
            *(*LEADING, *self._genes, "state", "feasible"),
            *(f"violation.{name}" for name in names),
            *(*FURTHER, *FINAL, "error"),
        ]
        rows = (
            [
                *self._row(trial, finals),
                *(trial.state, str(trial.feasible).lower()),
                *(_number(trial.violations.get(name), "violation") for name in names),
                *(_number(trial.values.get(name), name) for name in FURTHER),
                *(_number(getattr(finals.get(trial.number), name, None), name) for name in FINAL),
                trial.error or "",
            ]
            for trial in trials
        )
        return _csv(header, rows)

    def _row(self, trial: Trial, finals: Mapping[int, FinalMeasurement]) -> list[str]:
        final = finals.get(trial.number, FinalMeasurement())
        shown: dict[str, float | None] = {
            **trial.values,
            "latency_measured_ms": final.latency_measured_ms,
            "test_top1": final.test_top1,
        }
        figures = {name: _number(shown.get(name), name) for name in LEADING}
        figures["trial"], figures["digest"] = str(trial.number), trial.digest
        figures["latency_source"] = self._problem.cost.latency_source
        bits = self._problem.space.bits(np.array(trial.genome, dtype=np.int64))
        return [*figures.values(), *(str(bits[name]) for name in self._genes)]


def _number(value: float | None, column: str) -> str:
    """A value with the column's decimals (six significant digits by default); empty for None."""
    if value is None:
        return ""
    decimals = _DECIMALS.get(column)
    return f"{value:.6g}" if decimals is None else f"{value:.{decimals}f}"


def _csv(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


INTERVAL_S = 10.0


class FolderWriter:
    """Rewrites trials.csv and front.csv after every generation, and every ten seconds within one.

    Args:
        tables: The tables.
        record: Where the trials are.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self, tables: RunTables, record: StudyRecord, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tables = tables
        self._record = record
        self._clock = clock
        self._written = clock()

    def on_trial(self, trial: Trial, progress: Progress) -> None:  # noqa: ARG002 - it is in the record
        """Writes where the last time is more than ten seconds ago."""
        if self._clock() - self._written >= INTERVAL_S:
            self.on_generation(progress)

    def on_generation(self, progress: Progress) -> None:
        """Writes both tables."""
        self._tables.write(self._record.trials, progress.front)
        self._written = self._clock()
