"""The history of a sampler: which genomes were asked for, and draws of others."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.spaces import SearchSpace

LISTABLE = 1 << 16
DRAWS_PER_GENOME = 200


class History:
    """Genomes that were asked for.

    Spaces of up to 65,536 genomes are listed once few are left, so that each is found exactly once; larger
    ones are drawn from, which fails only where almost all of a space has been seen.

    Args:
        space: The space the genomes are from.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._seen: set[GenomeTuple] = set()

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
        """Up to ``count`` distinct genomes that were never asked for, uniformly; records them."""
        found: list[GenomeTuple] = []
        for _ in range(count):
            genome = self._draw_one(rng)
            if genome is None:
                break
            self._seen.add(genome)
            found.append(genome)
        return found

    def _draw_one(self, rng: np.random.Generator) -> GenomeTuple | None:
        remaining = self._space.cardinality - len(self._seen)
        if remaining <= 0:
            return None
        if self._space.cardinality <= LISTABLE and remaining * 10 < self._space.cardinality:
            return self._list_one(rng)
        for row in self._space.sample(rng, DRAWS_PER_GENOME):
            genome = tuple(int(i) for i in row)
            if genome not in self._seen:
                return genome
        return None

    def _list_one(self, rng: np.random.Generator) -> GenomeTuple:
        choices = range(len(self._space.widths))
        left = [g for g in product(choices, repeat=len(self._space)) if g not in self._seen]
        return left[int(rng.integers(len(left)))]
