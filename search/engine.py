"""The search engine: asks, checks, evaluates, records and tells until a budget is spent."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from bitfront.search.archive import Archive
from bitfront.search.budget import Budget
from bitfront.search.interrupt import InterruptGuard
from bitfront.search.pool import AccuracyPool
from bitfront.search.problem import Prepared, SearchProblem
from bitfront.search.progress import Progress, SearchObserver
from bitfront.search.result import INTERRUPTED, SearchResult
from bitfront.search.samplers.sampler import Sampler
from bitfront.search.study import StudyRecord
from bitfront.search.trial import Trial
from bitfront.spaces import BitfrontError

logger = logging.getLogger(__name__)
POLL_S = 0.2
FAILURES_TOLERATED = 5
BARREN_BATCHES = 25

EVALUATIONS_SPENT = "the evaluations are spent"
TIME_SPENT = "the time is spent"
EXHAUSTED = "every configuration of the space has been tried"
BARREN = f"no new configuration within the limits was found in {BARREN_BATCHES} generations"


class SearchEngine:
    """Runs a sampler on a problem.

    Results are told in the order of asking, whichever worker was quicker, and a trial that the record has
    already is not evaluated again. So a seed leads to the same trials with any number of workers, and a
    resumed run, which replays the record from the start, to those of an uninterrupted one.

    Args:
        problem: What is searched.
        sampler: Proposes candidates; fresh, also where the record has trials.
        pool: Evaluates them.
        record: Keeps the trials, and has those of earlier parts of the run.
        budget: What may be spent.
        observers: Told of every evaluation.
    """

    def __init__(
        self,
        problem: SearchProblem,
        sampler: Sampler,
        pool: AccuracyPool,
        record: StudyRecord,
        budget: Budget,
        observers: Sequence[SearchObserver] = (),
    ) -> None:
        self._problem = problem
        self._sampler = sampler
        self._pool = pool
        self._record = record
        self._budget = budget
        self._observers = tuple(observers)
        self._archive = Archive(problem.objectives, record.trials)
        self._in_flight: dict[int, Prepared] = {}
        self._counted: set[str] = set()
        self._done_now = 0
        self._generation = 0
        self._hypervolume = problem.box.share(self._archive.front_points)
        self._interrupt = InterruptGuard()

    def run(self) -> SearchResult:
        """Searches until a budget is spent, the space is exhausted or Ctrl-C is pressed.

        Raises:
            BitfrontError: The first candidates all failed, or the record cannot be written.
        """
        with self._interrupt:
            reason: str | None = None
            barren = 0
            while reason is None:
                genomes = self._sampler.ask()
                if not genomes:
                    reason = EXHAUSTED
                    break
                batch = [self._problem.prepare(genome) for genome in genomes]
                barren = 0 if any(prepared.admissible for prepared in batch) else barren + 1
                reason = self._evaluate(batch)
                if reason is None:
                    self._tell(batch)
                    reason = self._spent_or_barren(barren)
            self._notify_generation()
        logger.info("search ended: %s", reason)
        return SearchResult.of(reason, self._problem, self._archive, self._progress())

    def _spent_or_barren(self, barren: int) -> str | None:
        if not self._budget.evaluations_left:
            return EVALUATIONS_SPENT
        return BARREN if barren >= BARREN_BATCHES else None

    def _tell(self, batch: Sequence[Prepared]) -> None:
        self._sampler.tell([self._known(prepared) for prepared in batch])
        self._generation += 1
        self._notify_generation()

    def _known(self, prepared: Prepared) -> Trial:
        trial = self._archive.get(prepared.digest)
        assert trial is not None, "every candidate of a finished batch has a trial"
        return trial

    def _evaluate(self, batch: Sequence[Prepared]) -> str | None:
        """Brings every candidate to its trial; returns why that was cut short, if it was."""
        waiting, reason = deque(batch), None
        while waiting or self._in_flight:
            if self._interrupt.requested:
                while self._in_flight and self._receive(0.0):
                    pass  # what has finished meanwhile is paid for: record it
                return INTERRUPTED
            while waiting and reason is None and len(self._in_flight) < self._pool.capacity:
                reason = self._begin(waiting.popleft())
            if reason is not None:
                waiting.clear()
            if self._in_flight:
                self._receive(POLL_S)
        return reason

    def _begin(self, prepared: Prepared) -> str | None:
        """Looks a candidate up, rejects it or hands it to the pool; returns which budget forbids that."""
        known = self._archive.get(prepared.digest)
        if known is None and not prepared.admissible:
            self._archive.add(self._record.reject(prepared, self._budget.elapsed_s))
            return None
        if known is not None and (not known.paid or prepared.digest in self._counted):
            return None
        if not self._budget.evaluations_left:
            return EVALUATIONS_SPENT
        if known is None:
            if not self._budget.time_left:
                return TIME_SPENT
            number = self._record.begin(prepared)
            self._in_flight[number] = prepared
            self._pool.submit(number, prepared.config)
        self._budget.spend()
        self._counted.add(prepared.digest)
        return None

    def _receive(self, timeout: float) -> bool:
        """Records the next result; returns whether there was one."""
        completed = self._pool.next_completed(timeout)
        if completed is None:
            return False
        number, outcome = completed
        prepared = self._in_flight.pop(number)
        trial = self._problem.trial(number, prepared, outcome, self._budget.elapsed_s)
        if trial.error is not None:
            logger.warning("trial %d (%s) failed: %s", number, trial.digest, trial.error)
        self._record.finish(trial)
        if self._archive.add(trial):
            self._hypervolume = self._problem.box.share(self._archive.front_points)
        self._done_now += 1
        progress = self._progress()
        for observer in self._observers:
            observer.on_trial(trial, progress)
        self._check_failures(trial)
        return True

    def _check_failures(self, last: Trial) -> None:
        if last.state != "failed":
            return
        paid = [trial.state for trial in self._archive.trials if trial.paid]
        enough = min(FAILURES_TOLERATED, self._budget.evaluations)
        if len(paid) >= enough and set(paid) == {"failed"}:
            self._notify_generation()
            raise BitfrontError(
                f"the first {len(paid)} candidates all failed, so the search was stopped; the last error: "
                f"{last.error}; log.txt in the run folder has the details"
            )

    def _progress(self) -> Progress:
        done = self._archive.evaluations
        return Progress(
            evaluations=done,
            evaluations_budget=self._budget.evaluations,
            generation=self._generation,
            front=self._archive.front,
            trials=len(self._archive),
            hypervolume=self._hypervolume,
            elapsed_s=self._budget.elapsed_s,
            remaining_s=self._budget.remaining_s(done, self._done_now),
        )

    def _notify_generation(self) -> None:
        progress = self._progress()
        for observer in self._observers:
            observer.on_generation(progress)
