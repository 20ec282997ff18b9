"""Random search without repeats: the baseline that any other sampler has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.search.samplers.genomes.history import History


class RandomSearch:
    """Draws genomes uniformly among those within the limits that cost nothing to check, each at most once.

    Args:
        problem: The space to draw from, and limits that what is drawn satisfies.
        batch: Genomes asked for at a time.
        seed: Seed of the draws.
    """

    # Nothing is learnt, so nothing need be waited for.
    lag = 1

    def __init__(self, problem: SearchProblem, batch: int, seed: int) -> None:
        self._history = History(problem.space, WithinLimits(problem))
        self._batch = batch
        self._rng = np.random.default_rng(seed)

    def ask(self) -> list[GenomeTuple]:
        """The next batch of unseen genomes; empty when none is left."""
        return self._history.draw(self._rng, self._batch)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is learnt from trials."""
