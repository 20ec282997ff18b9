"""Exhaustive search: all that limits leave of a small space, in an order whose beginning spans the front."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.cost_shares import LISTABLE
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.spaces import GRANULARITIES, SearchSpace, UserError


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
    counts = Counter(space.sizes)
    power = " x ".join(f"{size}^{genes}" for size, genes in sorted(counts.items()))
    return f"{space.cardinality:,} ({power})" if space.cardinality < 10**12 else power


def _remedy(space: SearchSpace) -> str:
    if space.granularity in GRANULARITIES[1:] and space.choices.same:
        coarsest = len(space.choices.weights) ** len(space.encoders)
        if coarsest <= LISTABLE:
            return f"choose --space encoder, which has {coarsest:,}, or another --sampler"
    return "choose another --sampler"


class ExhaustiveSearch:
    """Asks for every genome of a space that is within the limits once, which cost nothing to check.

    Genomes are dealt from strata of equal mean width, one of each in turn and in random order within a
    stratum. Drawing evenly would spend the first evaluations around half of the size range, where nearly all
    genomes are (binomial), so a search that is stopped early would know little of the front's ends.

    Args:
        problem: The space and its limits.
        batch: Genomes asked for at a time.
        seed: Seed of the order.

    Raises:
        UserError: The space has more than 65,536 configurations.
    """

    # Nothing is learnt, so nothing need be waited for.
    lag = 1

    def __init__(self, problem: SearchProblem, batch: int, seed: int) -> None:
        check_exhaustible(problem.space)
        self._batch = batch
        within = WithinLimits(problem)
        order = _dealt(_genomes(problem.space), np.random.default_rng(seed))
        possible = order[within.excess(order) <= 0.0]
        self._order = filter(within.admits, map(tuple, possible.tolist()))
        # Where nothing is within the limits, it is asked for what comes nearest.
        self._nearest = order[np.argsort(within.excess(order), kind="stable")[:batch]]
        self._begun = False

    def ask(self) -> list[GenomeTuple]:
        """The next batch; empty when every genome has been asked for."""
        genomes = list(itertools.islice(self._order, self._batch))
        if not genomes and not self._begun:
            genomes = list(map(tuple, self._nearest.tolist()))
        self._begun = True
        return genomes

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is learnt from trials."""


def _genomes(space: SearchSpace) -> NDArray[np.int64]:
    """All genomes of a space, shape ``[cardinality, genes]``."""
    return np.stack(np.unravel_index(np.arange(space.cardinality), space.sizes), axis=1)


def _dealt(genomes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Genomes in rounds of one from each stratum; strata that are used up drop out."""
    genomes = rng.permutation(genomes)
    strata = genomes.sum(axis=1)
    rounds = np.empty(len(genomes), dtype=np.int64)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        rounds[members] = np.arange(len(members))
    return genomes[np.argsort(rounds, kind="stable")]
