"""Exhaustive search: every configuration of a small space, in an order whose beginning spans the front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.trial import Trial
from bitfront.search.samplers.genomes.history import LISTABLE
from bitfront.spaces import SearchSpace, UserError


def check_exhaustible(space: SearchSpace) -> None:
    """Counts a space before anything of it is listed.

    Raises:
        UserError: It has more than 65,536 configurations.
    """
    if space.cardinality > LISTABLE:
        raise UserError(
            f"--sampler exhaustive: space {space.granularity} has {_counted(space)} configurations, and at "
            f"most {LISTABLE:,} can be tried one by one: {_remedy(space)}"
        )


def _counted(space: SearchSpace) -> str:
    power = f"{len(space.widths)}^{len(space)}"
    return f"{space.cardinality:,} ({power})" if space.cardinality < 10**12 else power


def _remedy(space: SearchSpace) -> str:
    coarsest = len(space.widths) ** len(space.encoders)
    if space.granularity != "encoder" and coarsest <= LISTABLE:
        return f"choose --space encoder, which has {coarsest:,}, or another --sampler"
    return "choose another --sampler"


class ExhaustiveSearch:
    """Asks for every genome of a space once.

    Genomes are dealt from strata of equal mean width, one of each in turn and in random order within a
    stratum. Drawing evenly would spend the first evaluations around half of the size range, where nearly all
    genomes are (binomial), so a search that is stopped early would know little of the front's ends.

    Args:
        space: The space.
        batch: Genomes asked for at a time.
        seed: Seed of the order.

    Raises:
        UserError: The space has more than 65,536 configurations.
    """

    # Nothing is learnt, so nothing need be waited for.
    lag = 1

    def __init__(self, space: SearchSpace, batch: int, seed: int) -> None:
        check_exhaustible(space)
        self._batch = batch
        self._order = _dealt(_genomes(space), np.random.default_rng(seed))
        self._asked = 0

    def ask(self) -> list[GenomeTuple]:
        """The next batch; empty when every genome has been asked for."""
        rows = self._order[self._asked : self._asked + self._batch]
        self._asked += len(rows)
        return [tuple(int(i) for i in row) for row in rows]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is learnt from trials."""


def _genomes(space: SearchSpace) -> NDArray[np.int64]:
    """All genomes of a space, shape ``[cardinality, genes]``."""
    shape = (len(space.widths),) * len(space)
    return np.stack(np.unravel_index(np.arange(space.cardinality), shape), axis=1)


def _dealt(genomes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Genomes in rounds of one from each stratum; strata that are used up drop out."""
    genomes = rng.permutation(genomes)
    strata = genomes.sum(axis=1)
    rounds = np.empty(len(genomes), dtype=np.int64)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        rounds[members] = np.arange(len(members))
    return genomes[np.argsort(rounds, kind="stable")]
