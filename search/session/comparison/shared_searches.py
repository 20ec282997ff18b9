"""Runs all searches of a comparison on shared evaluations; what is finished is kept and not run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.files import explained
from bitfront.evaluators.progress import ShareDone
from bitfront.search.engine.protocols import AccuracyPool
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.session.comparison.searches import (
    FinishedSearch,
    PlannedSearch,
    read_search,
    run_search,
    write_search,
)
from bitfront.search.session.comparison.shared_evaluations import EVALUATIONS, SharedEvaluations, SharingPool

if TYPE_CHECKING:
    from bitfront.search.samplers.surrogate.objective_model import PriorScores


SEARCHES = "searches"
TRUTH = "exhaustive"


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
        self, problem: SearchProblem, pool: AccuracyPool, folder: Path, scores: PriorScores | None = None
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
        """
        finished: list[FinishedSearch] = []
        total = sum(entry.evaluations for entry in entries)
        before = 0
        for entry in entries:
            asked = before

            def evaluated(done: int, asked: int = asked) -> None:
                share_done((asked + done) / total)

            searched = self._search(entry, evaluated)
            if searched is None:
                break
            finished.append(searched)
            before += entry.evaluations
            share_done(before / total)
        return finished

    def _search(self, entry: PlannedSearch, evaluated: Callable[[int], None]) -> FinishedSearch | None:
        path = self._folder / SEARCHES / entry.file_name
        found = read_search(path, entry, self._problem, self.evaluations)
        if found is not None:
            return found
        searched = run_search(entry, self._problem, self._pool, self._scores, evaluated)
        if searched is not None:
            with explained(path):
                path.parent.mkdir(exist_ok=True)
            write_search(path, searched)
        return searched
