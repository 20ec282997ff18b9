"""The first population, and genetic operators: encoder-wise crossover, resampling mutation, no repeats."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.repair import Repair

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.search.samplers.genomes.history import History
from bitfront.spaces import SearchSpace

# Draws of a stratum, and share of a first population that are seeds.
TRIES, SEEDED = 20, 0.25


def stratified_population(
    space: SearchSpace, count: int, rng: np.random.Generator, within: WithinLimits
) -> list[GenomeTuple]:
    """Distinct genomes within limits whose mean width rises evenly from almost all lowest to all highest.

    Drawing every gene evenly would put nearly all of a first generation around half of the size range
    (binomial), and leave the ends of the front to mutation.

    Args:
        space: The space to draw from.
        count: Genomes wanted; fewer come back where too few are within the limits.
        rng: Source of randomness.
        within: The limits; of several draws of a stratum the first one within them is taken, else the first
            one that could be repaired.
    """
    population: dict[GenomeTuple, None] = {}
    for stratum in range(count):
        share = (stratum + rng.random()) / count
        draws = np.array([_draw(space, share, rng) for _ in range(TRIES)], dtype=np.int64)
        chosen = _first_new(draws, population, within)
        if chosen is None:
            chosen = _first_new(within.repaired(draws, rng), population, within)
        if chosen is not None:
            population[chosen] = None
    return list(population)


def _first_new(
    rows: NDArray[np.int64], seen: Collection[GenomeTuple], within: WithinLimits
) -> GenomeTuple | None:
    fresh = (genome for genome in map(tuple, rows.tolist()) if genome not in seen)
    return next(filter(within.admits, fresh), None)


def first_population(
    space: SearchSpace, count: int, rng: np.random.Generator, within: WithinLimits
) -> list[GenomeTuple]:
    """A stratified population, a part of which are seeds: the cheapest genomes, the all-narrow one, flips.

    Args:
        space: The space to draw from.
        count: Genomes wanted; fewer come back where too few are within the limits.
        rng: Source of randomness.
        within: The limits.
    """
    seeds = within.seeds[: max(1, round(SEEDED * count))]
    others = stratified_population(space, count, rng, within)
    fewer = [genome for genome in others if genome not in seeds]
    spread = np.linspace(0, len(fewer) - 1, min(len(fewer), count - len(seeds))).round().astype(int)
    return list(dict.fromkeys([*seeds, *(fewer[place] for place in spread), *within.seeds]))[:count]


def _draw(space: SearchSpace, share: float, rng: np.random.Generator) -> GenomeTuple:
    """A genome whose indices are ``share`` of the way up on average, in random places."""
    top = np.array(space.widest, dtype=np.int64)
    position = rng.permutation(np.arange(len(space)) + rng.random()) / len(space)
    raised = share * top + (position - 0.5)
    return tuple(int(i) for i in np.clip(np.rint(raised), 0, top))


def encoder_blocks(space: SearchSpace) -> NDArray[np.int64]:
    """The encoder of every gene, shape ``[genes]``."""
    return np.array([gene.slots[0].encoder for gene in space.genes], dtype=np.int64)


class EncoderCrossover(Crossover):  # type: ignore[misc]  # pymoo is untyped
    """Two parents exchange whole encoders, or single genes, half of the matings each.

    The bits of one encoder act together (its weights meet its activations), so exchanging encoders keeps
    good combinations; exchanging genes still reaches every recombination.

    Args:
        blocks: The encoder of every gene, shape ``[genes]``.
    """

    def __init__(self, blocks: NDArray[np.int64]) -> None:
        super().__init__(n_parents=2, n_offsprings=2, prob=0.9)
        self._blocks = blocks

    def _do(
        self,
        _problem: Any,
        X: NDArray[np.int64],
        *_args: Any,
        random_state: np.random.Generator,
        **_kwargs: Any,
    ) -> NDArray[np.int64]:
        _, matings, genes = X.shape
        by_encoder = random_state.random((matings, int(self._blocks.max()) + 1)) < 0.5
        by_gene = random_state.random((matings, genes)) < 0.5
        whole = random_state.random((matings, 1)) < 0.5
        swap = np.where(whole, by_encoder[:, self._blocks], by_gene)
        return np.stack([np.where(swap, X[1], X[0]), np.where(swap, X[0], X[1])])


class ResampleMutation(Mutation):  # type: ignore[misc]  # pymoo is untyped
    """Gives each gene another choice with probability 1 / genes.

    Args:
        sizes: Choices of each gene.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__(prob=1.0)
        self._sizes = np.array(sizes, dtype=np.int64)

    def _do(
        self,
        _problem: Any,
        X: NDArray[np.int64],
        *_args: Any,
        random_state: np.random.Generator,
        **_kwargs: Any,
    ) -> NDArray[np.int64]:
        hit = random_state.random(X.shape) < 1.0 / X.shape[1]
        step = random_state.integers(1, self._sizes, size=X.shape)
        return np.where(hit, (X + step) % self._sizes, X)


class RepairTowardsLimits(Repair):  # type: ignore[misc]  # pymoo is untyped
    """Brings offspring within the limits that cost nothing to check.

    Args:
        within: The limits.
        seed: Of the order in which encoders are repaired, where pymoo gives none.
    """

    def __init__(self, within: WithinLimits, seed: int) -> None:
        super().__init__()
        self._within = within
        self._rng = np.random.default_rng(seed)

    def _do(
        self,
        _problem: Any,
        X: NDArray[np.int64],
        *_args: Any,
        random_state: np.random.Generator | None = None,
        **_kwargs: Any,
    ) -> NDArray[np.int64]:
        return self._within.repaired(X, random_state or self._rng) if self._within.quick else X


class NeverAgain(DuplicateElimination):  # type: ignore[misc]  # pymoo is untyped
    """Drops genomes that were asked for at any time; pymoo's own looks at the current population only.

    Args:
        history: What was asked for.
    """

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def _do(self, pop: Any, other: Any, is_duplicate: NDArray[np.bool_]) -> NDArray[np.bool_]:
        rows = {tuple(int(i) for i in row) for row in other.get("X")} if other is not None else set()
        for position, row in enumerate(pop.get("X")):
            genome = tuple(int(i) for i in row)
            is_duplicate[position] = genome in rows or genome in self._history
            if other is None:
                rows.add(genome)
        return is_duplicate
