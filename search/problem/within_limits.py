"""What constraints that cost nothing to check leave of a space: repair towards them, and all within them."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import numpy as np

from bitfront.search.problem.cost_shares import ROUNDING, Array, CostShares, Genomes, over
from bitfront.search.problem.cost_tables import CostTables
from bitfront.search.problem.problem import SearchProblem

Indices = tuple[int, ...]
# Orders in which the encoders of many genomes are repaired: with one, they would all become alike.
_ORDERS = 8


class WithinLimits:
    """The genomes that satisfy all constraints that need no evaluation: limits of costs, and the mixed rule.

    Costs are sums over encoders, but for some bytes of a file's header (:class:`CostTables`): what is found
    by sums is checked by its own price before anything is said of it.

    Args:
        problem: Whose constraints these are.
        costs: Its costs as sums, where they are known already.
    """

    def __init__(self, problem: SearchProblem, costs: CostTables | None = None) -> None:
        self._problem = problem
        self._given = costs
        self._admitted: dict[Indices, bool] = {}

    def admits(self, genome: Indices) -> bool:
        """Whether a genome satisfies the constraints."""
        if genome not in self._admitted:
            self._admitted[genome] = self._problem.prepare(genome).admissible
        return self._admitted[genome]

    def excess(self, genomes: Genomes) -> Array:
        """Sum of the shares by which genomes ``[count, genes]`` exceed the limits of costs, ``[count]``.

        It is at most 0 where that is certain to hold or might hold, given what sums leave out.
        """
        return over(self._costs.of(genomes) - self._costs.slack)

    def repaired(self, genomes: Genomes, rng: np.random.Generator) -> Genomes:
        """Genomes ``[count, genes]`` brought within the limits as far as single encoders can, one by one.

        The encoders of a genome that exceeds a limit are taken in random order, which some genomes share.
        Each takes the choices that exceed the limits least; of several, those that change fewest genes. What
        satisfies the limits stays.

        Args:
            genomes: Are not changed.
            rng: Source of randomness.
        """
        found = np.array(genomes, dtype=np.int64)
        shares = self._costs.of(found)
        outside = np.flatnonzero(over(shares) > 0.0)
        # What sums err by decides of some.
        doubtful = over(shares[outside] - self._costs.slack) <= 0.0
        outside = outside[
            [not (d and self.admits(_key(found[i]))) for i, d in zip(outside, doubtful, strict=True)]
        ]
        for some in np.array_split(rng.permutation(outside), _ORDERS):
            found[some] = self._brought_within(found[some], shares[some], rng)
        for row in np.flatnonzero((found == found[:, :1]).all(1)):
            found[row] = self._mixed(_key(found[row]), rng)
        return found

    def _brought_within(self, found: Genomes, shares: Array, rng: np.random.Generator) -> Genomes:
        """Genomes whose encoders were taken in one order."""
        for encoder in rng.permutation(len(self._costs.blocks)):
            rows = np.flatnonzero(over(shares) > 0.0)
            if not len(rows):
                break
            genes, options = self._costs.blocks[encoder], self._costs.options[encoder]
            present = found[rows][:, genes]
            reached = self._costs.reached(found[rows], shares[rows], int(encoder))
            excess = over(reached)
            changed = (present[:, None] != options[None]).sum(-1) + rng.random(excess.shape) / 2
            # Not worse than what is there: of a large encoder some combinations are left out.
            best = np.where(excess <= excess.min(1, keepdims=True) + ROUNDING, changed, np.inf).argmin(1)
            better = excess[np.arange(len(rows)), best] < over(shares[rows])
            rows, best = rows[better], best[better]
            found[np.ix_(rows, genes)] = options[best]
            shares[rows] = reached[better, best]
        return found

    @cached_property
    def seeds(self) -> tuple[Indices, ...]:
        """Where a search begins: the cheapest genomes, the all-narrow one, its one-flips; within limits."""
        sizes = self._problem.space.sizes
        narrow = (0,) * len(sizes)
        flips = [
            (*narrow[:gene], index, *narrow[gene + 1 :])
            for gene, size in enumerate(sizes)
            for index in range(1, size)
        ]
        return tuple(g for g in dict.fromkeys((*self.cheapest, narrow, *flips)) if self.admits(g))

    @cached_property
    def cheapest(self) -> tuple[Indices, ...]:
        """The genome of the least of each cost, within limits; of several the widest."""
        found: dict[Indices, None] = {}
        for column in range(len(self._costs.costs.columns)):
            genome = np.zeros(len(self._problem.space), dtype=np.int64)
            for genes, options in zip(self._costs.blocks, self._costs.options, strict=True):
                prices = self._costs.priced(genes, options)[:, column]
                least = np.flatnonzero(prices <= prices.min() + 1e-9 * abs(self._costs.costs.base[column]))
                genome[genes] = options[least[options[least].sum(1).argmax()]]
            rng = np.random.default_rng(0)
            (repaired,) = self.repaired(genome[None], rng)
            found |= dict.fromkeys([_key(repaired)])
        return tuple(genome for genome in found if self.admits(genome))

    @cached_property
    def listed(self) -> Genomes | None:
        """All genomes that sums of costs do not rule out ``[count, genes]``.

        None where there are more than 65,536 of them, or where that cannot be told.
        """
        return self._costs.within()

    def left(self, seen: Collection[Indices]) -> int | None:
        """How many genomes within the limits are not among those seen; None where that cannot be told."""
        if self.listed is None:
            return None
        unseen = (genome for genome in map(tuple, self.listed.tolist()) if genome not in seen)
        return sum(map(self.admits, unseen))

    @property
    def quick(self) -> bool:
        """Whether many genomes can be repaired at once: costs are sums."""
        return self._costs.costs.additive

    @property
    def bounds(self) -> Array:
        """The most of each cost, in the order of its columns; infinite where there is no limit."""
        return self._costs.bounds

    @cached_property
    def _costs(self) -> CostShares:
        return CostShares(self._problem, self._given or CostTables(self._problem))

    def _mixed(self, genome: Indices, rng: np.random.Generator) -> Indices:
        """A genome of one width; where that is not allowed, one with another gene, if that is."""
        if self.admits(genome):
            return genome
        flips = [
            (*genome[:gene], index, *genome[gene + 1 :])
            for gene in rng.permutation(len(genome)).tolist()
            for index in range(self._problem.space.sizes[gene])
            if index != genome[gene]
        ]
        return next(filter(self.admits, flips), genome)


def _key(genome: Genomes) -> Indices:
    return tuple(genome.tolist())
