"""The first population, and genetic operators: encoder-wise crossover, resampling mutation, no repeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.samplers.genomes.history import History
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
            with none is taken, else the one with the least, brought as near to none as single genes can.
    """
    population: list[GenomeTuple] = []
    seen: set[GenomeTuple] = set()
    for stratum in range(count):
        share = (stratum + rng.random()) / count
        draws = [_draw(space, share, rng) for _ in range(TRIES)]
        fresh = [genome for genome in draws if genome not in seen]
        if fresh:
            chosen = _least(fresh, excess)
            repaired = _repaired(chosen, len(space.widths), rng, excess)
            chosen = chosen if repaired in seen else repaired
            seen.add(chosen)
            population.append(chosen)
    return population


def _repaired(genome: GenomeTuple, widths: int, rng: np.random.Generator, excess: Excess) -> GenomeTuple:
    """A genome whose genes, one after the other in random order, take the width of the least excess.

    Tight limits leave so few genomes that draws miss them all; the sizes and most of the latencies of genes
    add up, so that one pass finds the least of every gene. A genome without excess stays as it is.
    """
    least = excess(genome)
    for gene in rng.permutation(len(genome)) if least > 0.0 else ():
        others = [(*genome[:gene], width, *genome[gene + 1 :]) for width in range(widths)]
        found = {other: excess(other) for other in others if other != genome}
        best = min(found, key=found.__getitem__)
        if found[best] < least:
            genome, least = best, found[best]
        if least <= 0.0:
            break
    return genome


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
    """Gives each gene another width with probability 1 / genes.

    Args:
        choices: Number of widths.
    """

    def __init__(self, choices: int) -> None:
        super().__init__(prob=1.0)
        self._choices = choices

    def _do(
        self,
        _problem: Any,
        X: NDArray[np.int64],
        *_args: Any,
        random_state: np.random.Generator,
        **_kwargs: Any,
    ) -> NDArray[np.int64]:
        hit = random_state.random(X.shape) < 1.0 / X.shape[1]
        step = random_state.integers(1, self._choices, size=X.shape)
        return np.where(hit, (X + step) % self._choices, X)


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
