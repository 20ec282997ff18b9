"""The search engine: asks, checks, evaluates, records and tells until a budget is spent."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from bitfront.search.engine.protocols import (
    AccuracyPool,
    GenomeTuple,
    LearnsFromKnown,
    Progress,
    Sampler,
    SearchObserver,
    TrialRecord,
)
from bitfront.search.engine.result import INTERRUPTED, SearchResult
from bitfront.search.engine.stopping import Budget, InterruptGuard
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.archive import Archive
from bitfront.search.problem.problem import Candidate, SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.spaces import BitfrontError
from bitfront.spaces.quantities import count_of

logger = logging.getLogger(__name__)
POLL_S = 0.2
# What is watched is at most such a share of the trials behind.
SHOWN_SHARE = 0.01
FAILURES_TOLERATED = 5
BARREN_BATCHES = 25
EVALUATIONS_SPENT = "the evaluations are spent"
TIME_SPENT = "the time is spent"
EXHAUSTED = "every configuration of the space has been tried"
WITHIN_LIMITS = "every configuration within the limits has been tried"
NONE_WITHIN_LIMITS = "no configuration is within the limits"
BARREN = f"no new configuration within the limits was found in {BARREN_BATCHES} generations"
UNKNOWN = "whether others are left is not known: they are too many to list"


def required_difference(problem: SearchProblem, candidate: Candidate, known: Archive) -> float | None:
    """The least share of images decided right with which a candidate may be on the front, less that of float.

    A candidate whose latency and size are no better than those of a front point has to be more accurate than
    that; a limit on that share has to be met in any case.

    Args:
        problem: What is searched.
        candidate: The candidate, with its known costs.
        known: The trials that the decision may rest on.

    Returns:
        Percentage points, usually negative; None where any share would do, or where the front has another
        axis that only an evaluation tells.
    """
    counted, whole = problem.task.counted, problem.float_counted
    quality = next((o for o in problem.objectives if o.column == counted), None)
    if whole is None or not all(o.analytic or o.column == counted for o in problem.objectives):
        return None
    bounds = [limit.threshold for limit in problem.limits if limit.column == counted]
    priced = [objective for objective in problem.objectives if objective.analytic]
    if quality is not None:
        bounds += [
            quality.deciding(trial.values)
            for trial in known.front
            if all(o.minimised(trial.values) <= o.minimised(candidate.values) for o in priced)
        ]
    return max(bounds) - whole if bounds else None


@dataclass(frozen=True)
class _Batch:
    """Candidates asked for together; not ``whole`` where the evaluations did not suffice for all.

    Those that a search begins with are ``known``: its sampler did not ask for them.
    """

    candidates: tuple[Candidate, ...]
    whole: bool
    known: bool = False


class SearchEngine:
    """Runs a sampler on a problem.

    Results are told batch by batch in the order of asking, whichever worker was quicker, and at fixed points:
    the batch that is asked for next knows all batches but the last ``sampler.lag``. Trials that the record
    has already are not evaluated again. So a seed leads to the same trials with any number of workers, and a
    resumed run, which replays the record from the start, to those of an uninterrupted one; and while a batch
    waits for its last candidates, the workers have those of the next one.

    Args:
        problem: What is searched.
        sampler: Proposes candidates; fresh, also where the record has trials.
        pool: Evaluates them.
        record: Keeps the trials, and has those of earlier parts of the run.
        budget: What may be spent.
        observers: Told of every evaluation and every batch.
        known: Genomes that the search begins with, batch by batch, because the pool knows what they are
            worth; a sampler that takes them learns from them, and they are paid for.
    """

    def __init__(
        self,
        problem: SearchProblem,
        sampler: Sampler,
        pool: AccuracyPool,
        record: TrialRecord,
        budget: Budget,
        observers: Sequence[SearchObserver] = (),
        known: Sequence[Sequence[GenomeTuple]] = (),
    ) -> None:
        self._problem = problem
        self._begin_with = tuple(known)
        self._sampler = sampler
        self._pool = pool
        self._record = record
        self._budget = budget
        # Time that the sampler took to propose and to learn.
        self.proposing_s = 0.0
        self._observers = tuple(observers)
        self._archive = judging_archive(problem, record.trials)
        # What the sampler has been told: decisions that a resumed run must repeat rest on this alone.
        self._told = judging_archive(problem)
        self._batches: deque[_Batch] = deque()
        self._waiting: deque[tuple[Candidate, float | None]] = deque()
        self._in_flight: dict[int, Candidate] = {}
        self._counted: set[str] = set()
        self._asked: set[GenomeTuple] = set()
        self._done_now = 0
        self._generation = 0
        self._barren = 0
        # Why nothing more is asked for; what was asked for is evaluated all the same.
        self._enough: str | None = None
        self._look()
        self._interrupt = InterruptGuard()

    def _look(self) -> None:
        """Takes the front as it is now, for whoever watches."""
        self._unseen = 0
        self._front = self._archive.front
        self._hypervolume = self._problem.box.share(self._archive.front_points)

    def run(self) -> SearchResult:
        """Searches until a budget is spent, nothing is left within the limits or Ctrl-C is pressed.

        Raises:
            BitfrontError: The first candidates all failed, or the record cannot be written.
        """
        with self._interrupt:
            reason = self._take_known()
            while reason is None:
                if self._enough is None and len(self._batches) <= self._sampler.lag:
                    self._ask()
                else:
                    reason = self._finish_oldest() if self._batches else self._enough
            self._notify()
        logger.info("search ended: %s", reason)
        archive = self._archive
        return SearchResult(reason, archive.trials, archive.front, self._problem, self._progress())

    def _take_known(self) -> str | None:
        """Takes in what is known; returns why to end, where that is so already."""
        for genomes in self._begin_with:
            self._take_in(genomes, known=True)
            reason = self._finish_oldest()
            if reason is not None:
                return reason
        return None

    def _ask(self) -> None:
        """Takes the sampler's next batch in, up to the last candidate that may be paid for."""
        started = time.monotonic()
        genomes = self._sampler.ask()
        self.proposing_s += time.monotonic() - started
        if not genomes:
            self._enough = self._nothing_new("the sampler proposes nothing more")
            return
        self._barren = 0 if self._take_in(genomes) else self._barren + 1
        if not self._budget.evaluations_left:
            self._enough = EVALUATIONS_SPENT
        elif self._barren >= BARREN_BATCHES:
            self._enough = self._nothing_new(BARREN)

    def _take_in(self, genomes: Sequence[GenomeTuple], known: bool = False) -> bool:
        """Prepares a batch and pays for it; returns whether any of it is within the limits."""
        self._asked.update(genomes)
        asked = [self._problem.prepare(genome) for genome in genomes]
        taken = self._affordable(asked)
        self._batches.append(_Batch(tuple(taken), len(taken) == len(asked), known))
        self._waiting.extend(
            (candidate, required_difference(self._problem, candidate, self._told)) for candidate in taken
        )
        return any(candidate.admissible for candidate in asked)

    def _nothing_new(self, why: str) -> str:
        """Why a search ends before its budget: nothing is left within the limits, or how many are."""
        if len(self._asked) >= self._problem.space.cardinality:
            return EXHAUSTED
        left = WithinLimits(self._problem).left(self._asked)
        if left == 0:
            if not self._counted:
                return NONE_WITHIN_LIMITS
            return f"{WITHIN_LIMITS} ({len(self._counted):,} of {self._problem.space.cardinality:,})"
        return f"{why}; {UNKNOWN if left is None else f'{left:,} within the limits are left'}"

    def _affordable(self, asked: Sequence[Candidate]) -> list[Candidate]:
        """Pays for candidates in the order of asking, and leaves those from the first too many on out."""
        taken: list[Candidate] = []
        for candidate in asked:
            if candidate.admissible and candidate.digest not in self._counted:
                if not self._budget.evaluations_left:
                    break
                self._budget.spend()
                self._counted.add(candidate.digest)
            taken.append(candidate)
        return taken

    def _finish_oldest(self) -> str | None:
        """Brings the candidates of the oldest batch to their trials, and tells them; returns why to end."""
        oldest = self._batches[0]
        reason = self._evaluate(oldest.candidates)
        if reason is None:
            self._batches.popleft()
            if oldest.whole or oldest.known:
                self._tell(oldest)
        return reason

    def _tell(self, batch: _Batch) -> None:
        for candidate in batch.candidates:
            self._told.add(self._known(candidate))
        told = [self._told.judged(candidate.digest) for candidate in batch.candidates]
        started = time.monotonic()
        if not batch.known:
            self._sampler.tell(told)
        elif isinstance(self._sampler, LearnsFromKnown):
            self._sampler.take(told)
        self.proposing_s += time.monotonic() - started
        self._budget.plateau.see(
            self._told.evaluations, lambda count: self._problem.box.share(self._told.front_points_of(count))
        )
        if self._budget.plateau.reached and self._enough is None:
            self._enough = self._budget.plateau.reason
        self._generation += 1
        self._notify()

    def _known(self, candidate: Candidate) -> Trial:
        trial = self._archive.get(candidate.digest)
        assert trial is not None, "every candidate of a finished batch has a trial"
        return trial

    def _evaluate(self, batch: Sequence[Candidate]) -> str | None:
        """Works until every candidate of a batch has its trial; returns why that was cut short, if it was."""
        while True:
            if self._interrupt.requested:
                while self._in_flight and self._receive(0.0):
                    pass  # what has finished meanwhile is paid for: record it
                return INTERRUPTED
            reason = self._begin_waiting()
            if reason is not None:
                return self._drained(reason)
            if all(self._archive.get(candidate.digest) is not None for candidate in batch):
                return None
            self._receive(POLL_S)

    def _begin_waiting(self) -> str | None:
        """Begins candidates in the order of asking while the pool has room; returns why one may not be."""
        while self._waiting and len(self._in_flight) < self._pool.capacity:
            reason = self._begin(*self._waiting[0])
            if reason is not None:
                return reason
            self._waiting.popleft()
        return None

    def _drained(self, reason: str) -> str:
        """Waits for what is being evaluated, which is paid for; returns why the search ends."""
        while self._in_flight:
            if self._interrupt.requested:
                return INTERRUPTED
            self._receive(POLL_S)
        return reason

    def _begin(self, candidate: Candidate, required: float | None) -> str | None:
        """Looks a candidate up, rejects it or hands it to the pool; returns why it may not be begun."""
        known = self._archive.get(candidate.digest)
        if known is not None:
            return None
        if not candidate.admissible:
            self._archive.add(self._record.reject(candidate, self._budget.elapsed_s))
            return None
        if not self._budget.time_left:
            return TIME_SPENT
        number = self._record.begin(candidate)
        self._in_flight[number] = candidate
        self._pool.submit(number, candidate.config, required)
        return None

    def _receive(self, timeout: float) -> bool:
        """Records the next result; returns whether there was one."""
        completed = self._pool.next_completed(timeout)
        if completed is None:
            return False
        number, outcome = completed
        candidate = self._in_flight.pop(number)
        trial = self._problem.trial(number, candidate, outcome, self._budget.elapsed_s)
        if trial.error is not None:
            logger.warning("trial %d (%s) failed: %s", number, trial.digest, trial.error)
        self._record.finish(trial)
        self._archive.add(trial)
        # Known ones take no time that a pace could be told by.
        if not trial.known and not any(batch.known for batch in self._batches):
            self._done_now += 1
        # All trials are judged together for a front: of many, it is looked at after every hundredth more.
        self._unseen += 1
        if self._unseen > SHOWN_SHARE * len(self._archive):
            self._look()
        self._notify(trial)
        self._check_failures(trial)
        return True

    def _check_failures(self, last: Trial) -> None:
        if last.state != "failed":
            return
        paid = [trial.state for trial in self._archive.trials if trial.paid]
        enough = min(FAILURES_TOLERATED, self._budget.evaluations)
        if len(paid) >= enough and set(paid) == {"failed"}:
            self._notify()
            raise BitfrontError(
                f"the first {count_of(len(paid), 'candidate')} all failed, so the search was stopped; the "
                f"last error: {last.error}; log.txt in the run folder has the details"
            )

    def _progress(self) -> Progress:
        done = self._archive.evaluations
        return Progress(
            evaluations=done,
            evaluations_budget=self._budget.evaluations,
            generation=self._generation,
            front=self._front,
            trials=len(self._archive),
            hypervolume=self._hypervolume,
            elapsed_s=self._budget.elapsed_s,
            remaining_s=self._budget.remaining_s(done, self._done_now, self._pool.capacity),
            objectives=self._problem.objectives,
        )

    def _notify(self, trial: Trial | None = None) -> None:
        if trial is None:
            self._look()
        progress = self._progress()
        for observer in self._observers:
            observer(progress, trial)
