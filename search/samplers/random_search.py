"""Random search without repeats: the baseline that any other sampler has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.trial import Trial
from bitfront.search.samplers.genomes.history import History
from bitfront.spaces import SearchSpace


class RandomSearch:
    """Draws genomes uniformly, each at most once.

    Args:
        space: The space to draw from.
        batch: Genomes asked for at a time.
        seed: Seed of the draws.
    """

    # Nothing is learnt, so nothing need be waited for.
    lag = 1

    def __init__(self, space: SearchSpace, batch: int, seed: int) -> None:
        self._history = History(space)
        self._batch = batch
        self._rng = np.random.default_rng(seed)

    def ask(self) -> list[GenomeTuple]:
        """The next batch of unseen genomes; empty when none is left."""
        return self._history.draw(self._rng, self._batch)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is learnt from trials."""
