"""The searches of a comparison on shared evaluations; what is finished is kept and not run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.files import explained, parsed_json, write_atomically
from bitfront.evaluators.progress import ShareDone
from bitfront.search.engine.engine import SearchEngine
from bitfront.search.engine.protocols import AccuracyPool, GenomeTuple
from bitfront.search.engine.result import INTERRUPTED
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.study import StudyRecord
from bitfront.search.samplers.registry import default_population, make_sampler
from bitfront.search.session.comparison.shared_evaluations import EVALUATIONS, SharedEvaluations, SharingPool
from bitfront.spaces import BitfrontError

if TYPE_CHECKING:
    from bitfront.search.samplers.known_scores import KnownScores

SEARCHES = "searches"
TRUTH = "exhaustive"


@dataclass(frozen=True)
class PlannedSearch:
    """A search to run.

    Attributes:
        sampler: Name of the sampler.
        seed: Its seed.
        evaluations: Distinct configurations that it may evaluate.
        population: Candidates proposed at a time; None for what suits the sampler.
    """

    sampler: str
    seed: int
    evaluations: int
    population: int | None = None

    @property
    def file_name(self) -> str:
        """The name of the file it is kept in."""
        proposed = "" if self.population is None else f"-population{self.population}"
        return f"{self.sampler}-seed{self.seed}-{self.evaluations}{proposed}.json"


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

    def write(self, path: Path) -> None:
        """Writes which genomes it asked for; what they came to is among the shared evaluations."""
        document = {
            "sampler": self.entry.sampler,
            "population": self.entry.population or default_population(self.entry.sampler),
            "seed": self.entry.seed,
            "evaluations": self.entry.evaluations,
            "reason": self.reason,
            "proposing_s": self.proposing_s,
            "genomes": ["".join(map(str, trial.genome)) for trial in self.trials],
        }
        with explained(path):
            path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(document) + "\n")


class SharedSearches:
    """Searches of one problem that pay for every evaluation once.

    Killed at any moment it loses nothing: evaluations are recorded one by one, and finished searches; one
    that was under way is repeated from the evaluations that are there.

    Args:
        problem: What is searched.
        pool: Evaluates.
        folder: Where evaluations and searches are kept.
        scores: Sensitivities of the genes, for samplers that begin with them.
    """

    def __init__(
        self, problem: SearchProblem, pool: AccuracyPool, folder: Path, scores: KnownScores | None = None
    ) -> None:
        self._problem = problem
        self._folder = folder
        self._scores = scores
        self.evaluations = SharedEvaluations(folder / EVALUATIONS)
        self._pool = SharingPool(pool, self.evaluations)

    def evaluate_all(self, seed: int, share_done: ShareDone) -> tuple[Trial, ...] | None:
        """The trials of all configurations; None where Ctrl-C stopped it.

        Raises:
            UserError: The space has too many.
        """
        count = self._problem.space.cardinality
        found = self._search(PlannedSearch(TRUTH, seed, count), lambda done: share_done(done / count))
        return None if found is None else found.trials

    def run(self, entries: Sequence[PlannedSearch], share_done: ShareDone) -> list[FinishedSearch]:
        """Runs searches in their order; fewer come back where Ctrl-C stopped it.

        Args:
            entries: The searches.
            share_done: Told which share of all evaluations has been asked for.

        Raises:
            UserError: A sampler cannot search this space.
            BitfrontError: The first candidates all failed, or the file of a search is damaged.
        """
        finished: list[FinishedSearch] = []
        total, before = sum(entry.evaluations for entry in entries), 0
        for entry in entries:

            def evaluated(done: int, before: int = before) -> None:
                share_done((before + done) / total)

            searched = self._search(entry, evaluated)
            if searched is None:
                break
            finished.append(searched)
            before += entry.evaluations
            share_done(before / total)
        return finished

    def _search(self, entry: PlannedSearch, evaluated: Callable[[int], None]) -> FinishedSearch | None:
        """The search that was finished before, or a new one, whose record stays in memory."""
        path, problem = self._folder / SEARCHES / entry.file_name, self._problem
        if path.exists():
            return self._read(path, entry)
        record = StudyRecord.in_memory(problem)
        engine = SearchEngine(
            problem,
            make_sampler(entry.sampler, problem, entry.population, entry.seed, self._scores),
            self._pool,
            record,
            Budget(entry.evaluations),
            [lambda progress, _: evaluated(progress.evaluations)],
        )
        result = engine.run()
        if result.reason == INTERRUPTED:
            return None
        # As they were measured: all searches are judged together.
        found = FinishedSearch(entry, tuple(record.trials), result.reason, round(engine.proposing_s, 3))
        found.write(path)
        return found

    def _read(self, path: Path, entry: PlannedSearch) -> FinishedSearch:
        try:
            document = parsed_json(path.read_text(encoding="utf-8"))
            genomes = [tuple(map(int, word)) for word in document["genomes"]]
            trials = tuple(self._known_trial(number, genome) for number, genome in enumerate(genomes))
            return FinishedSearch(entry, trials, document["reason"], float(document["proposing_s"]))
        except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
            raise BitfrontError(f"{path} is damaged ({error}): remove it to search again") from error

    def _known_trial(self, number: int, genome: GenomeTuple) -> Trial:
        """The trial of a genome, from what its evaluation came to."""
        candidate = self._problem.prepare(genome)
        if not candidate.admissible:
            values, violations = candidate.values, candidate.violations
            return Trial(number, candidate.digest, candidate.genome, "rejected", values, violations)
        outcome = self.evaluations.get(candidate.digest)
        if outcome is None:
            raise KeyError(f"{candidate.digest} was not evaluated")
        return self._problem.trial(number, candidate, outcome, 0.0)
