"""Random assignments of a configuration's own widths: as many of each, on other encoders, equal in size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.cost_tables import CostTables
from bitfront.search.problem.problem import SearchProblem

# How far sizes may be apart: encoders of a hierarchical model are not equally large.
SIZE_SHARE = 0.01
# Permutations that are tried at a time, and how often before fewer are taken.
_AT_ONCE, _ROUNDS = 4096, 50
# By which sums of costs may be off; each that is taken is priced on its own.
_SLACK = 1e-3


def equal_assignments(
    problem: SearchProblem, genome: GenomeTuple, count: int, rng: np.random.Generator
) -> list[GenomeTuple]:
    """Random assignments with as many of each width and kind as a genome, whose packed size is within 1 %.

    Args:
        problem: Prices them; its space has one gene for each encoder and kind.
        genome: Is none of them.
        count: So many are wanted.
        rng: Source of randomness.

    Returns:
        Different ones; fewer where too few of so many permutations are equal in size.
    """
    price, found = CostTables(problem), dict[GenomeTuple, None]()
    size = price.columns.index("size_bytes")
    target = problem.prepare(genome).values["size_bytes"]
    for rows in _permutations(problem, genome, rng):
        near = np.abs(price(rows)[:, size] / target - 1.0) <= SIZE_SHARE + _SLACK
        for row in map(tuple, rows[near].tolist()):
            if row == genome or row in found:
                continue
            if abs(problem.prepare(row).values["size_bytes"] / target - 1.0) <= SIZE_SHARE:
                found[row] = None
            if len(found) == count:
                return list(found)
    return list(found)


def _permutations(
    problem: SearchProblem, genome: GenomeTuple, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Genomes ``[some, genes]`` in which the genes of each kind have changed places."""
    kinds = np.array([gene.slots[0].kind for gene in problem.space.genes])
    for _ in range(_ROUNDS):
        rows = np.tile(np.array(genome, dtype=np.int64), (_AT_ONCE, 1))
        for kind in np.unique(kinds):
            genes = np.flatnonzero(kinds == kind)
            rows[:, genes] = rng.permuted(rows[:, genes], axis=1)
        yield rows
