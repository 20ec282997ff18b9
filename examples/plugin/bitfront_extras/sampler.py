"""A sampler that changes one gene of the front at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.archive import Archive
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.samplers.genomes.history import History


class NeighbourSearch:
    """Proposes neighbours of the front so far, and random genomes where they are known."""

    lag = 0  # the next batch waits for the results of this one

    def __init__(self, problem: SearchProblem, population: int, seed: int) -> None:
        self._space, self._count = problem.space, population
        self._rng = np.random.default_rng(seed)
        self._history = History(problem.space)
        self._archive = Archive(problem.objectives)

    def ask(self) -> list[GenomeTuple]:
        """A neighbour of each of some points of the front."""
        front = [trial.genome for trial in self._archive.front][: self._count]
        fresh = [g for g in dict.fromkeys(map(self._neighbour, front)) if g not in self._history]
        self._history.add(fresh)
        return fresh + self._history.draw(self._rng, self._count - len(fresh))

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keeps the front."""
        for trial in trials:
            self._archive.add(trial)

    def _neighbour(self, genome: GenomeTuple) -> GenomeTuple:
        gene = int(self._rng.integers(len(genome)))
        choice = int(self._rng.integers(self._space.sizes[gene]))
        return (*genome[:gene], choice, *genome[gene + 1 :])
