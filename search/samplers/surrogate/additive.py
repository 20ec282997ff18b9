"""Exact optima of an additive model under limits of cost, by integer programming (HiGHS)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bitfront.spaces import BitConfig, BitfrontError, SearchSpace
from bitfront.spaces.genomes import gene_table, narrow_choices

Table = NDArray[np.float64]
Genomes = NDArray[np.int64]
# Up to so many choices optima are exact; beyond, within a ten-thousandth of the score.
EXACT_CHOICES = 100
RELATIVE_GAP = 1e-4
# HiGHS judges by absolute tolerances of about 1e-6: scores and costs come in units in which that is nothing.
_RANGE = 1e3


@contextlib.contextmanager
def silenced_stdout() -> Iterator[None]:
    """Drops what compiled code prints on stdout within the block, which may be a JSON document's.

    The HiGHS of some versions of SciPy leaves lines of its developers there whatever it is told. The other
    threads of the process are silenced, too.
    """
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no stdout
        yield
        return
    # What was printed lies in a buffer of the C library.
    library = ctypes.CDLL(None if os.name == "posix" else "ucrtbase")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        library.fflush(None)
        os.dup2(nowhere, 1)
        yield
    finally:
        library.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def gene_costs(space: SearchSpace, cost: Callable[[BitConfig], float]) -> Table:
    """What each gene alone adds to the cost of the widest, ``[genes, most choices]``; 0 at the widest.

    NaN where a gene has fewer choices.

    Args:
        space: Whose genes are priced.
        cost: Of a configuration, such as its size in bytes; what genes cost together is left out.
    """
    base = np.array(space.widest, dtype=np.int64)
    whole, found = cost(space.decode(base)), gene_table(space.sizes)
    for gene in range(len(space)):
        for index in range(base[gene]):
            genome = base.copy()
            genome[gene] = index
            found[gene, index] = cost(space.decode(genome)) - whole
    return found


def additive_optimum(scores: Table, costs: Sequence[Table], bounds: Sequence[float]) -> Genomes | None:
    """The genome ``[genes]`` of the least sum of scores within every bound; None where there is none.

    Args:
        scores: Of each gene at each choice, ``[genes, most choices]``; less is better. NaN where a gene has
            fewer choices.
        costs: Of each gene at each choice by resource, each ``[genes, most choices]``.
        bounds: The most that the sum of each resource may be.

    Raises:
        BitfrontError: The solver gives up.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    sizes = np.isfinite(scores).sum(1)
    there, genes = narrow_choices(sizes.tolist()), np.arange(len(sizes))
    # One variable for each gene and narrow choice; a gene with none of them at 1 is at the widest.
    gain = _from_widest(scores, sizes)[there]
    constraints = []
    if there.shape[1] > 1:
        rows = np.repeat(genes, sizes - 1)
        one_each = csr_array((np.ones(gain.size), (rows, np.arange(gain.size))))
        constraints.append(LinearConstraint(one_each, ub=1.0))
    for table, bound in zip(costs, bounds, strict=True):
        change, room = _from_widest(table, sizes)[there], bound - table[genes, sizes - 1].sum()
        unit = _unit(change)
        constraints.append(LinearConstraint(change[None] * unit, ub=room * unit))
    gap = 0.0 if gain.size <= EXACT_CHOICES else RELATIVE_GAP
    with silenced_stdout():
        found = milp(
            gain * _unit(gain),
            integrality=np.ones(gain.size),
            bounds=Bounds(0.0, 1.0),
            constraints=constraints,
            options={"mip_rel_gap": gap},
        )
    if found.status == 2:
        return None
    if found.x is None:
        raise BitfrontError(f"the integer program of {len(genes)} genes was not solved: {found.message}")
    chosen = np.zeros(there.shape, dtype=bool)
    chosen[there] = np.rint(found.x) > 0
    genome: Genomes = np.where(chosen.any(1), chosen.argmax(1), sizes - 1).astype(np.int64)
    return genome


def _from_widest(table: Table, sizes: NDArray[np.int64]) -> Table:
    """What narrow choices differ by from the widest of their gene, ``[genes, most choices - 1]``."""
    found: Table = table[:, :-1] - table[np.arange(len(sizes)), sizes - 1][:, None]
    return found


def _unit(values: Table) -> float:
    largest = float(np.abs(values).max(initial=0.0))
    return _RANGE / largest if largest > 0 else 1.0


def additive_front(
    scores: Table, costs: Sequence[Table], count: int, bounds: Sequence[float] = ()
) -> Genomes:
    """Optima at ``count`` bounds of the first resource, evenly spread up to the best, ``[found, genes]``.

    Each genome comes once, from the least cost on; the bounds that admit none are left out.

    Args:
        scores: As in :func:`additive_optimum`.
        costs: As there; the first one is limited in steps.
        count: How many bounds.
        bounds: Of the other resources.
    """
    best = additive_optimum(scores, costs[1:], bounds)
    if best is None:
        return np.zeros((0, len(scores)), dtype=np.int64)
    least, most = np.nanmin(costs[0], axis=1).sum(), costs[0][np.arange(len(best)), best].sum()
    genomes = [
        additive_optimum(scores, costs, (float(bound), *bounds)) for bound in np.linspace(least, most, count)
    ]
    distinct = dict.fromkeys(tuple(genome.tolist()) for genome in genomes if genome is not None)
    return np.array(list(distinct), dtype=np.int64).reshape(-1, len(scores))
