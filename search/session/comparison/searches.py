"""One search of a comparison: a sampler with a seed, run by the search engine, kept in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.files import write_atomically
from bitfront.search.engine.engine import SearchEngine
from bitfront.search.engine.protocols import AccuracyPool, GenomeTuple, Progress, Sampler
from bitfront.search.engine.result import INTERRUPTED
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.study import StudyRecord
from bitfront.search.samplers.registry import default_population, make_sampler
from bitfront.search.session.comparison.shared_evaluations import SharedEvaluations
from bitfront.spaces import BitfrontError

if TYPE_CHECKING:
    from bitfront.search.samplers.surrogate.objective_model import PriorScores


@dataclass(frozen=True)
class PlannedSearch:
    """A search to run.

    Attributes:
        sampler: Name of the sampler.
        seed: Its seed.
        evaluations: Distinct configurations that it may evaluate.
    """

    sampler: str
    seed: int
    evaluations: int

    @property
    def file_name(self) -> str:
        """The name of the file it is kept in."""
        return f"{self.sampler}-seed{self.seed}-{self.evaluations}.json"


@dataclass(frozen=True)
class FinishedSearch:
    """A finished search.

    Attributes:
        entry: Which one.
        trials: Its trials in the order of asking.
        reason: Why it ended.
        proposing_s: Time that the sampler took to propose and to learn, in seconds.
    """

    entry: PlannedSearch
    trials: tuple[Trial, ...]
    reason: str
    proposing_s: float


class TimedSampler:
    """A sampler that counts the time it takes.

    Args:
        sampler: The sampler.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, sampler: Sampler, clock: Callable[[], float] = time.monotonic) -> None:
        self._sampler = sampler
        self._clock = clock
        self.seconds = 0.0

    @property
    def lag(self) -> int:
        """That of the sampler."""
        return self._sampler.lag

    def ask(self) -> list[GenomeTuple]:
        """The sampler's next batch."""
        started = self._clock()
        genomes = self._sampler.ask()
        self.seconds += self._clock() - started
        return genomes

    def tell(self, trials: Sequence[Trial]) -> None:
        """Tells the sampler."""
        started = self._clock()
        self._sampler.tell(trials)
        self.seconds += self._clock() - started


class _Counter:
    """Tells how many evaluations a search has had."""

    def __init__(self, evaluated: Callable[[int], None]) -> None:
        self._evaluated = evaluated

    def on_trial(self, trial: Trial, progress: Progress) -> None:  # noqa: ARG002 - part of the protocol
        """After every evaluation."""
        self._evaluated(progress.evaluations)

    def on_generation(self, progress: Progress) -> None:
        """Nothing is shown of batches."""


def run_search(
    entry: PlannedSearch,
    problem: SearchProblem,
    pool: AccuracyPool,
    scores: PriorScores | None = None,
    evaluated: Callable[[int], None] | None = None,
) -> FinishedSearch | None:
    """Searches with the real engine, whose record stays in memory: every evaluation is the pool's to keep.

    Args:
        entry: Sampler, seed and budget.
        problem: What is searched.
        pool: Evaluates.
        scores: Sensitivities of the genes, for samplers that begin with them.
        evaluated: Told how many evaluations the search has had.

    Returns:
        The finished search; None where Ctrl-C stopped it.

    Raises:
        UserError: The sampler cannot search this space.
        BitfrontError: The first candidates all failed.
    """
    sampler = TimedSampler(make_sampler(entry.sampler, problem, None, entry.seed, scores))
    record, budget = StudyRecord.in_memory(problem), Budget(entry.evaluations)
    observers = () if evaluated is None else (_Counter(evaluated),)
    result = SearchEngine(problem, sampler, pool, record, budget, observers).run()
    if result.reason == INTERRUPTED:
        return None
    return FinishedSearch(entry, result.trials, result.reason, round(sampler.seconds, 3))


def write_search(path: Path, searched: FinishedSearch) -> None:
    """Writes which genomes a search asked for; what they came to is among the shared evaluations."""
    entry = searched.entry
    document = {
        "sampler": entry.sampler,
        "population": default_population(entry.sampler),
        "seed": entry.seed,
        "evaluations": entry.evaluations,
        "reason": searched.reason,
        "proposing_s": searched.proposing_s,
        "genomes": ["".join(map(str, trial.genome)) for trial in searched.trials],
    }
    write_atomically(path, json.dumps(document) + "\n")


def read_search(
    path: Path, entry: PlannedSearch, problem: SearchProblem, evaluations: SharedEvaluations
) -> FinishedSearch | None:
    """A search that was finished before; None where there is none.

    Raises:
        BitfrontError: The file is damaged.
    """
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        genomes = [tuple(map(int, word)) for word in document["genomes"]]
        trials = [_again(i, genome, problem, evaluations) for i, genome in enumerate(genomes)]
        return FinishedSearch(entry, tuple(trials), document["reason"], float(document["proposing_s"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BitfrontError(f"{path} is damaged ({error}): remove it to search again") from error


def _again(number: int, genome: GenomeTuple, problem: SearchProblem, evaluations: SharedEvaluations) -> Trial:
    """The trial of a genome, from what its evaluation came to."""
    candidate = problem.prepare(genome)
    if not candidate.admissible:
        values, violations = candidate.values, candidate.violations
        return Trial(number, candidate.digest, candidate.genome, "rejected", values, violations)
    outcome = evaluations.get(candidate.digest)
    if outcome is None:
        raise KeyError(f"{candidate.digest} was not evaluated")
    return problem.trial(number, candidate, outcome, 0.0)
