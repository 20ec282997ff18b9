"""Costs of encoders as shares of their limits, and what is within these: branch and bound over encoders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bitfront.search.problem.cost_tables import CostTables
from bitfront.search.problem.problem import SearchProblem

Array = NDArray[np.float64]
Genomes = NDArray[np.int64]
# So many genomes are listed at most, and so many combinations of an encoder's choices tabled.
LISTABLE, COMBINATIONS = 1 << 16, 1 << 12
# Shares are sums of numbers that are rounded.
ROUNDING = 1e-12
# Sums of costs are compared for so many pairs of a genome and a combination at a time.
_CHUNK = 1 << 20
# Shares of one limited cost in sums of two, which are limited, too: they show early what cannot meet both.
_MIXES = (0.25, 0.5, 0.75)


class CostShares:
    """The limited costs of genomes as shares of their bounds, encoder by encoder.

    Args:
        problem: Whose limits these are.
        costs: The costs as sums.

    Attributes:
        costs: These.
        bounds: The most of each cost, in the order of its columns; infinite where there is no limit.
        blocks: The genes of each encoder.
        options: Combinations of choices of each encoder's genes, ``[combinations, genes]``: all, or, of an
            encoder that has more than 4,096, those in which all genes of a kind are alike.
        complete: Whether they are all.
    """

    def __init__(self, problem: SearchProblem, costs: CostTables) -> None:
        self.costs, self._space = costs, problem.space
        limits = [limit for limit in problem.limits if limit.analytic]
        by_column = [
            [limit.threshold for limit in limits if limit.column == column] for column in costs.columns
        ]
        self.bounds: Array = np.array([min(bounds, default=np.inf) for bounds in by_column])
        self._limited = np.flatnonzero(np.isfinite(self.bounds))
        blocks: dict[int, list[int]] = {}
        for index, gene in enumerate(self._space.genes):
            blocks.setdefault(gene.slots[0].encoder, []).append(index)
        self.blocks = list(blocks.values())
        self.complete = all(self._combinations(genes) <= COMBINATIONS for genes in self.blocks)
        self.options = [self._options(genes) for genes in self.blocks]

    def of(self, genomes: Genomes) -> Array:
        """Shares of genomes ``[count, genes]``, ``[count, limited]``: within limits up to 1."""
        return self._shares(self.costs(genomes))

    @cached_property
    def slack(self) -> Array:
        """What sums of costs may err by, ``[limited]``."""
        found: Array = self._shares(self.costs.error[None])[0]
        return found

    def priced(self, genes: list[int], values: Genomes) -> Array:
        """What genes add at values ``[count, genes]`` to the costs at the lowest, ``[count, costs]``."""
        genomes = np.zeros((len(values), len(self._space)), dtype=np.int64)
        genomes[:, genes] = values
        return self.costs(genomes) - self.costs.base

    def reached(self, genomes: Genomes, shares: Array, encoder: int) -> Array:
        """Shares of genomes with each option of an encoder, ``[count, options, limited]``.

        Args:
            genomes: ``[count, genes]``.
            shares: Theirs as they are.
            encoder: Its place among the blocks.
        """
        genes, options = self.blocks[encoder], self.options[encoder]
        if self.costs.additive:
            rest = shares - self._parts(encoder, genomes[:, genes])
            found: Array = rest[:, None] + self._tabled[encoder][None]
            return found
        others = np.repeat(genomes[:, None], len(options), axis=1)
        others[:, :, genes] = options
        return self.of(others.reshape(-1, genomes.shape[1])).reshape(len(genomes), len(options), -1)

    def within(self) -> Genomes | None:
        """All genomes that sums of costs do not rule out ``[count, genes]``.

        None where there are more than 65,536 of them, or where that cannot be told.
        """
        if not self.costs.additive or not self.complete:
            small = self._space.cardinality <= LISTABLE
            return np.array(list(itertools.product(*map(range, self._space.sizes)))) if small else None
        mixes = self._mixes()
        bound = 1.0 + ROUNDING + mixes @ self.slack
        parts = [part @ mixes.T for part in self._tabled]
        least = np.cumsum([part.min(0) for part in parts[::-1]], axis=0)[::-1]
        rest = [*least[1:], np.zeros(len(mixes))]
        totals: Array = self._shares(self.costs.base[None]) @ mixes.T
        chosen: Genomes = np.zeros((1, 0), dtype=np.int64)
        for part, still in zip(parts, rest, strict=True):
            kept = list(_pairs_within(totals, part, bound - still))
            if sum(len(rows) for rows, _ in kept) > LISTABLE:
                return None
            rows, columns = (np.concatenate(found) for found in zip(*kept, strict=True))
            totals = totals[rows] + part[columns]
            chosen = np.column_stack([chosen[rows], columns])
        genomes = np.zeros((len(chosen), len(self._space)), dtype=np.int64)
        for encoder, (genes_of, options) in enumerate(zip(self.blocks, self.options, strict=True)):
            genomes[:, genes_of] = options[chosen[:, encoder]]
        return genomes

    def _shares(self, costs: Array) -> Array:
        found: Array = costs[:, self._limited] / self.bounds[self._limited]
        return found

    def _options(self, genes: list[int]) -> Genomes:
        alike = [self._space.genes[gene].slots[0].kind for gene in genes]
        complete = self._combinations(genes) <= COMBINATIONS
        groups = list(map(str, genes)) if complete else list(map(str, alike))
        places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        sizes = {group: self._space.sizes[gene] for group, gene in zip(groups, genes, strict=True)}
        every = (range(sizes[group]) for group in places)
        combinations = np.array(list(itertools.product(*every)), dtype=np.int64)
        return combinations[:, [places[group] for group in groups]]

    def _combinations(self, genes: list[int]) -> int:
        return math.prod(self._space.sizes[gene] for gene in genes)

    @cached_property
    def _tabled(self) -> list[Array]:
        """The shares that the options of each encoder add."""
        pairs = zip(self.blocks, self.options, strict=True)
        return [self._shares(self.priced(genes, options)) for genes, options in pairs]

    def _parts(self, encoder: int, values: Genomes) -> Array:
        """Shares that an encoder's genes add at values ``[count, genes]``, ``[count, limited]``."""
        genes = self.blocks[encoder]
        if len(self.options[encoder]) < self._combinations(genes):
            return self._shares(self.priced(genes, values))
        place = np.ravel_multi_index(tuple(values.T), [self._space.sizes[gene] for gene in genes])
        found: Array = self._tabled[encoder][place]
        return found

    def _mixes(self) -> Array:
        """Weights of the limited costs in what is limited, ``[mixes, limited]``."""
        count = len(self._limited)
        pairs = itertools.combinations(np.eye(count), 2)
        mixed = [mix * one + (1.0 - mix) * other for one, other in pairs for mix in _MIXES]
        rows = [*np.eye(count), *mixed]
        return np.array(rows, dtype=np.float64).reshape(len(rows), count)


def over(shares: Array) -> Array:
    """By how much shares of bounds ``[..., limited]`` exceed 1, but for rounding, summed over limits."""
    found: Array = np.maximum(shares - 1.0 - ROUNDING, 0.0).sum(-1)
    return found


def _pairs_within(totals: Array, part: Array, room: Array) -> Iterator[tuple[Genomes, Genomes]]:
    """Rows of totals and of a part, whose sums are within the room, until there are too many of them."""
    step, count = max(1, _CHUNK // len(part)), 0
    for begin in range(0, max(1, len(totals)), step):
        sums = totals[begin : begin + step, None] + part[None]
        rows, columns = np.nonzero((sums <= room).all(-1))
        yield rows + begin, columns
        count += len(rows)
        if count > LISTABLE:
            return
