"""The tables of a run folder, trials.csv and front.csv, kept up to date while a search runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitfront.evaluators.files import csv_text
from bitfront.evaluators.tasks.quality import Quality
from bitfront.search.engine.protocols import Progress
from bitfront.search.estimation.estimates import judged
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.columns import (
    DIFFERENCE_ERROR,
    ERROR,
    EXPECTED,
    FURTHER,
    SHORTLIST,
    STATE,
    Column,
    Schema,
    violation_column,
)
from bitfront.search.runs.files import FRONT, TRIALS
from bitfront.search.runs.folder import RunFolder
from bitfront.search.runs.study import StudyRecord

INTERVAL_S = 10.0


@dataclass(frozen=True)
class FinalMeasurement:
    """What was measured on a point of the finished front.

    Attributes:
        latency_measured_ms: Latency of the whole model in milliseconds; None where it was not measured.
        quality: What it is worth on the test split; None where that was not measured.
        difference_standard_error: Of the difference to the float model in quality on the test split, where
            counts of images do not tell it.
        stands_for: Number of the listed trial that stands for it in the shortlist; None while there is none.
    """

    latency_measured_ms: float | None = None
    quality: Quality | None = None
    difference_standard_error: float | None = None
    stands_for: int | None = None

    def values(self) -> dict[str, Any]:
        """What was measured, by the names of the columns."""
        tested = {} if self.quality is None else self.quality.figures()
        return {
            "latency_measured_ms": self.latency_measured_ms,
            DIFFERENCE_ERROR: self.difference_standard_error,
            **{f"test_{name}": value for name, value in tested.items()},
        }


class TableTexts:
    """The tables of a run as CSV.

    Args:
        problem: What was searched: gives gene and constraint columns.
    """

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem
        self.schema = Schema(problem.task, tuple(o.name for o in problem.objectives), problem.metrics)

    def front(self, front: Iterable[Trial], final: Mapping[int, FinalMeasurement]) -> str:
        """One row for each front point: figures, the bits of every gene, the estimate, then the shortlist."""
        return self._csv(front, final, (*self.schema.estimated, *self._further, *SHORTLIST))

    def trials(self, trials: Iterable[Trial], final: Mapping[int, FinalMeasurement]) -> str:
        """The same for every trial, with its state, every violation and all else that was measured."""
        violations = [violation_column(name) for name in self._problem.constraint_names]
        further = (
            *STATE,
            *violations,
            *self.schema.measured,
            *self.schema.final,
            ERROR,
            EXPECTED,
            *self.schema.estimated,
            *self._further,
        )
        return self._csv(trials, final, further)

    @property
    def _further(self) -> tuple[Column, ...]:
        """Further costs that were asked for."""
        return tuple(column for column in FURTHER if column.name in self._problem.cost.further)

    def _csv(
        self, trials: Iterable[Trial], final: Mapping[int, FinalMeasurement], further: Sequence[Column]
    ) -> str:
        space, leading = self._problem.space, self.schema.leading

        def row(trial: Trial) -> list[str]:
            known = self._values(trial, final.get(trial.number, FinalMeasurement()))
            bits = space.bits(np.array(trial.genome, dtype=np.int64))
            figures, rest = ([c.cell(known.get(c.name)) for c in columns] for columns in (leading, further))
            return [*figures, *map(str, bits.values()), *rest]

        header = [
            *(column.name for column in leading),
            *space.gene_names,
            *(column.name for column in further),
        ]
        return csv_text(header, map(row, trials))

    def _values(self, trial: Trial, final: FinalMeasurement) -> dict[str, Any]:
        """What is known of a trial, by the names of the columns."""
        return {
            **trial.values,
            **final.values(),
            **{violation_column(name).name: value for name, value in trial.violations.items()},
            "trial": trial.number,
            "digest": trial.digest,
            "latency_source": self._problem.cost.latency_source,
            "state": trial.state,
            "feasible": trial.feasible,
            "error": trial.error,
            "listed": None if final.stands_for is None else final.stands_for == trial.number,
            "stands_for": final.stands_for,
        }


class RunTables:
    """Writes the tables of a run, each as a whole.

    Args:
        folder: The run folder.
        problem: What was searched.
    """

    def __init__(self, folder: RunFolder, problem: SearchProblem) -> None:
        self._folder = folder
        self._problem = problem
        self._texts = TableTexts(problem)

    def write(
        self,
        trials: Iterable[Trial],
        front: Iterable[Trial],
        final: Mapping[int, FinalMeasurement] | None = None,
    ) -> None:
        """Writes both tables; estimates are those that all trials together give.

        Args:
            trials: All trials, by number.
            front: The front, by size.
            final: By trial number, what was measured on the finished front.

        Raises:
            BitfrontError: The tables cannot be written.
        """
        measured = final or {}
        self._folder.write_text(FRONT, self._texts.front(front, measured))
        trials = judged(self._problem, tuple(trials))
        self._folder.write_text(TRIALS, self._texts.trials(trials, measured))


class FolderWriter:
    """Rewrites trials.csv and front.csv after every generation, and every ten seconds within one.

    Args:
        tables: The tables.
        record: Where the trials are.
    """

    def __init__(self, tables: RunTables, record: StudyRecord) -> None:
        self._tables = tables
        self._record = record
        self._written = time.monotonic()

    def __call__(self, progress: Progress, trial: Trial | None = None) -> None:
        """Writes both tables after a batch, and after a trial where the last time is ten seconds ago."""
        if trial is not None and time.monotonic() - self._written < INTERVAL_S:
            return
        self._tables.write(self._record.trials, progress.front)
        self._written = time.monotonic()
