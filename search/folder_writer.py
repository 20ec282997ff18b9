"""Keeps a run folder's tables up to date while a search runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from bitfront.search.progress import Progress
from bitfront.search.run_tables import RunTables
from bitfront.search.study import StudyRecord
from bitfront.search.trial import Trial

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
