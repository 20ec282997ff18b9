"""The first population: strata over the share of wide genes, so that it spans the size axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitfront.search.samplers.sampler import GenomeTuple
from bitfront.spaces import SearchSpace

TRIES = 20

Excess = Callable[[GenomeTuple], float]


def stratified_population(
    space: SearchSpace, count: int, rng: np.random.Generator, excess: Excess
) -> list[GenomeTuple]:
    """Distinct genomes whose mean width rises evenly from almost all lowest to almost all highest.

    Drawing every gene evenly would put nearly all of a first generation around half of the size range
    (binomial), and leave the ends of the front to mutation.

    Args:
        space: The space to draw from.
        count: Genomes wanted; fewer come back where the space is too small.
        rng: Source of randomness.
        excess: Violation of the constraints that need no evaluation; of several draws of a stratum the first
            with none is taken, else the one with the least.
    """
    population: list[GenomeTuple] = []
    seen: set[GenomeTuple] = set()
    for stratum in range(count):
        share = (stratum + rng.random()) / count
        draws = [_draw(space, share, rng) for _ in range(TRIES)]
        fresh = [genome for genome in draws if genome not in seen]
        if fresh:
            chosen = _least(fresh, excess)
            seen.add(chosen)
            population.append(chosen)
    return population


def _draw(space: SearchSpace, share: float, rng: np.random.Generator) -> GenomeTuple:
    """A genome whose indices are ``share`` of the way up on average, in random places."""
    top = len(space.widths) - 1
    position = rng.permutation(np.arange(len(space)) + rng.random()) / len(space)
    raised = share * top + (position - 0.5)
    return tuple(int(i) for i in np.clip(np.rint(raised), 0, top))


def _least(genomes: list[GenomeTuple], excess: Excess) -> GenomeTuple:
    best, least = genomes[0], float("inf")
    for genome in genomes:
        found = excess(genome)
        if found <= 0.0:
            return genome
        if found < least:
            best, least = genome, found
    return best
