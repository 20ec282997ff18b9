"""Costs of many genomes at once, from few prices of single ones."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bitfront.search.problem.problem import SearchProblem
from bitfront.spaces import SearchSpace
from bitfront.spaces.genomes import gene_table

logger = logging.getLogger(__name__)

CHECKS = 16
# The header of a packed file writes offsets in decimals, so sizes add up but for some bytes.
TOLERANCE = 1e-3
Genes = tuple[int, ...]


class CostTables:
    """The costs of a problem as sums over single genes, and over genes that meet in a layer.

    The anchored decomposition f(x) = sum over S of t_S(x_S), with the genes of one layer (its weights, its
    activations and the attention of its encoder) as the largest sets S, prices every genome where a cost is
    a sum over layers. Where it is not, every genome is priced on its own.

    Args:
        problem: Prices genomes one by one.

    Attributes:
        additive: Whether the costs are such sums.
        columns: Of the costs, in their order here: latency, size, and further ones.
        base: Costs of the genome at the lowest widths, ``[costs]``.
        error: What sums may err by, ``[costs]``: twice as much as those that were looked at.
    """

    def __init__(self, problem: SearchProblem) -> None:
        self._problem, self.columns = problem, problem.priced
        space = problem.space
        anchor = np.zeros(len(space), dtype=np.int64)
        self.base = self._price(anchor)
        self._terms: dict[Genes, NDArray[np.float64]] = {}
        for genes in _sets(space):
            self._terms[genes] = self._term(genes)
        rows = np.concatenate([space.sample(np.random.default_rng(0), CHECKS), _alike(space)])
        sums, prices = self._sums(rows), self._one_by_one(rows)
        self.error: NDArray[np.float64] = 2.0 * np.abs(sums - prices).max(0)
        # In a small model what all encoders share is a larger part of the size than the tolerance.
        worst = float(np.abs(sums[:CHECKS] / prices[:CHECKS] - 1.0).max())
        self.additive = worst < TOLERANCE
        if not self.additive:
            self.error = np.zeros(len(self.columns))
            logger.info("costs are no sums over layers (off by %.2g): genomes are priced one by one", worst)

    def __call__(self, genomes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Costs, in the order of ``columns``, ``[count, costs]`` of genomes ``[count, genes]``."""
        return self._sums(genomes) if self.additive else self._one_by_one(genomes)

    def by_gene(self) -> NDArray[np.float64]:
        """What each gene alone adds at each choice to all at the lowest, ``[costs, genes, most choices]``.

        NaN where a gene has fewer choices.
        """
        found = np.stack([gene_table(self._problem.space.sizes) for _ in self.columns])
        for genes, term in self._terms.items():
            if len(genes) == 1:
                found[:, genes[0], : term.shape[1]] = term
        return found

    def _sums(self, genomes: NDArray[np.int64]) -> NDArray[np.float64]:
        total = np.repeat(self.base[:, None], len(genomes), axis=1)
        for genes, term in self._terms.items():
            total += _entries(term, genomes[:, list(genes)])
        return total.T

    def _one_by_one(self, genomes: Iterable[NDArray[np.int64]]) -> NDArray[np.float64]:
        return np.array([self._price(genome) for genome in genomes])

    def _price(self, genome: NDArray[np.int64]) -> NDArray[np.float64]:
        values = self._problem.prepare([int(index) for index in genome]).values
        return np.array([float(values[column]) for column in self.columns])

    def _term(self, genes: Genes) -> NDArray[np.float64]:
        """What is left of the cost of a set of genes when that of all its parts is taken away."""
        sizes = [self._problem.space.sizes[gene] for gene in genes]
        term = np.zeros((len(self.columns), *sizes))
        for combination in itertools.product(*(range(1, size) for size in sizes)):
            genome = np.zeros(len(self._problem.space), dtype=np.int64)
            genome[list(genes)] = combination
            left = self._price(genome) - self.base
            for size in range(1, len(genes)):
                for part in itertools.combinations(genes, size):
                    left -= _entries(self._terms[part], genome[None, list(part)])[:, 0]
            index: tuple[slice | int, ...] = (slice(None), *combination)
            term[index] = left
        return term


def _alike(space: SearchSpace) -> NDArray[np.int64]:
    """Genomes with all genes of a kind at one end: some tensors are there once for all encoders."""
    kinds = [gene.slots[0].kind for gene in space.genes]
    places = {kind: place for place, kind in enumerate(dict.fromkeys(kinds))}
    corners = list(itertools.product((0, 1), repeat=len(places)))
    raised = np.array(corners, dtype=np.int64)[:, [places[kind] for kind in kinds]]
    alike: NDArray[np.int64] = raised * np.array(space.widest, dtype=np.int64)
    return alike


def _entries(term: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Entries of a term ``[costs, choices, ...]`` at indices ``[count, genes]``, ``[costs, count]``."""
    flat = np.ravel_multi_index(tuple(chosen.T), term.shape[1:])
    entries: NDArray[np.float64] = term.reshape(len(term), -1)[:, flat]
    return entries


def _sets(space: SearchSpace) -> Sequence[Genes]:
    """Sets of genes that share a layer, and all their subsets, smaller ones first."""
    by_layer: dict[tuple[int, str], set[int]] = {}
    attention: dict[int, int] = {}
    for index, gene in enumerate(space.genes):
        for slot in gene.slots:
            if slot.kind == "attention":
                attention[slot.encoder] = index
            else:
                by_layer.setdefault((slot.encoder, slot.layer), set()).add(index)
    sets: set[Genes] = {(index,) for index in range(len(space))}
    for (encoder, _), members in by_layer.items():
        genes = sorted(members | ({attention[encoder]} if encoder in attention else set()))
        for size in range(1, len(genes) + 1):
            sets |= set(itertools.combinations(genes, size))
    return sorted(sets, key=lambda genes: (len(genes), genes))
