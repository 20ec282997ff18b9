"""The history of a sampler: which genomes were asked for, and draws of others."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.cost_shares import LISTABLE, Genomes
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.spaces import SearchSpace

# Draws at a time, and how often they are tried where what is left cannot be listed.
DRAWS_PER_GENOME, TRIES = 200, 5
# Draws that are checked one by one, before it is worth knowing costs as sums.
ONE_BY_ONE = 20


class History:
    """Genomes that were asked for.

    Where draws find none that is new and within the limits, those that are left are listed, if there are at
    most 65,536 of them: each is found exactly once. Of more than that draws fail only where limits are met by
    few of them that repair does not find.

    Args:
        space: The space the genomes are from.
        within: The limits that what is drawn satisfies; None for none.
    """

    def __init__(self, space: SearchSpace, within: WithinLimits | None = None) -> None:
        self._space = space
        self._within = within
        self._seen: set[GenomeTuple] = set()
        # Whether draws no longer find what is left.
        self._sparse = False

    def __contains__(self, genome: GenomeTuple) -> bool:
        return genome in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def seen(self) -> frozenset[GenomeTuple]:
        """The genomes that were asked for."""
        return frozenset(self._seen)

    @property
    def exhausted(self) -> bool:
        """Whether every genome of the space was asked for."""
        return len(self._seen) >= self._space.cardinality

    def add(self, genomes: Iterable[GenomeTuple]) -> None:
        """Records genomes as asked for."""
        self._seen.update(genomes)

    def draw(self, rng: np.random.Generator, count: int) -> list[GenomeTuple]:
        """Up to ``count`` distinct genomes that were never asked for; records them.

        They are uniform among those within the limits, unless these are so few that draws miss them: then
        they are draws that were repaired. Where nothing is within the limits, the first ones are draws that
        come near: what they miss is worth telling.
        """
        found: list[GenomeTuple] = []
        for _ in range(count):
            genome = self._draw_one(rng)
            if genome is None:
                break
            self._seen.add(genome)
            found.append(genome)
        if not self._seen and self._within is not None:
            rows = self._within.repaired(self._space.sample(rng, DRAWS_PER_GENOME), rng)
            found = list(dict.fromkeys(_tuples(rows)))[:count]
            self._seen.update(found)
        return found

    def _draw_one(self, rng: np.random.Generator) -> GenomeTuple | None:
        if self.exhausted:
            return None
        left = self._space.cardinality - len(self._seen)
        if self._sparse or (self._space.cardinality <= LISTABLE and left * 10 < self._space.cardinality):
            return self._list_one(rng)
        for _ in range(TRIES):
            rows = self._space.sample(rng, DRAWS_PER_GENOME)
            genome = self._first_new(rows)
            if genome is None and self._within is not None:
                genome = self._first_new(self._within.repaired(rows, rng))
            if genome is not None:
                return genome
            self._sparse = self._listed() is not None
            if self._sparse:
                return self._list_one(rng)
        return None

    def _first_new(self, rows: Genomes) -> GenomeTuple | None:
        """The first one of rows that was not asked for and is within the limits."""
        found = next(filter(self._is_new, _tuples(rows[:ONE_BY_ONE])), None)
        if found is None:
            rows = rows[ONE_BY_ONE:]
            possible = rows if self._within is None else rows[self._within.excess(rows) <= 0.0]
            found = next(filter(self._is_new, _tuples(possible)), None)
        return found

    def _is_new(self, genome: GenomeTuple) -> bool:
        return genome not in self._seen and (self._within is None or self._within.admits(genome))

    def _list_one(self, rng: np.random.Generator) -> GenomeTuple | None:
        """One of all genomes that are left; None where there is none, or where they are too many to list."""
        listed = self._listed()
        left = [] if listed is None else [genome for genome in _tuples(listed) if genome not in self._seen]
        while left:
            place = int(rng.integers(len(left)))
            left[place], left[-1] = left[-1], left[place]
            genome = left.pop()
            if self._is_new(genome):
                return genome
        return None

    def _listed(self) -> Genomes | None:
        if self._within is not None:
            return self._within.listed
        small = self._space.cardinality <= LISTABLE
        return np.array(list(product(*map(range, self._space.sizes)))) if small else None


def _tuples(rows: Genomes) -> list[GenomeTuple]:
    return list(map(tuple, rows.tolist()))
