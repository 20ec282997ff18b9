"""Assignments by thresholds: genes of little sensitivity narrow, those beyond every threshold wide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitfront.spaces import UserError

Values = NDArray[np.float64]
Indices = tuple[int, ...]
# By how much of the genes the first narrowing of all is ahead of the second one.
LEAD = 0.5


def assigned(values: Values, thresholds: Sequence[float], sizes: Sequence[int] = ()) -> Indices:
    """The genome in which each gene is one step narrower for each threshold that it does not exceed.

    With two thresholds of three formats: the narrowest up to the low threshold, the next up to the high one,
    the widest beyond (VQ-ViT). A gene of fewer formats leaves out the lowest thresholds.

    Args:
        values: Sensitivities, ``[genes]``.
        thresholds: Ascending, one less than the most formats that a gene has.
        sizes: How many formats each gene has; empty where all have as many.
    """
    found = np.searchsorted(np.asarray(thresholds, dtype=np.float64), values, side="left")
    missing = len(thresholds) + 1 - np.asarray(sizes, dtype=np.int64) if len(sizes) else 0
    return tuple(map(int, np.maximum(found - missing, 0)))


def quantile_thresholds(values: Values, shares: Sequence[float], widths: int) -> tuple[float, ...]:
    """The thresholds that such shares of the genes do not exceed.

    Args:
        values: Sensitivities, ``[genes]``.
        shares: From 0 to 1, not descending, one less than there are widths: the first is the share of the
            genes that are narrowest, the second that of these and the next width, and so on.
        widths: How many there are.

    Raises:
        UserError: The shares are not so.
    """
    if len(shares) != widths - 1:
        raise UserError(
            f"{len(shares)} shares for {widths} widths: give {widths - 1}, the first of the genes that are "
            "narrowest, the next of these and those of the next width"
        )
    if any(not 0.0 <= share <= 1.0 for share in shares) or sorted(shares) != list(shares):
        raise UserError(f"shares {', '.join(f'{share:g}' for share in shares)}: give ascending ones, 0 to 1")
    ordered = np.sort(values)
    counts = [round(share * len(ordered)) for share in shares]
    return tuple(float(ordered[count - 1]) if count else -np.inf for count in counts)


class Staircase:
    """All assignments by thresholds that are moved together, each one step narrower than the one before.

    A step narrows one gene to the next width. Genes come in ascending order of sensitivity; a gene's second
    step comes when a share of the genes more has had its first, so that the thresholds stay apart.

    Args:
        values: Sensitivities of the genes that are narrowed, ``[genes]``; of equal ones the first comes
            first.
        base: The genome that the first step starts from.
        genes: Their places in the genome.
        lead: That share, at least 0; 0 takes each gene to the narrowest at once.
    """

    def __init__(
        self, values: Values, base: Sequence[int], genes: Sequence[int] | None = None, lead: float = LEAD
    ) -> None:
        places = np.arange(len(base)) if genes is None else np.asarray(genes, dtype=np.int64)
        self._base = tuple(map(int, base))
        order = places[np.argsort(np.asarray(values, dtype=np.float64), kind="stable")]
        ahead = lead * len(order)
        events = [
            (rank + step * ahead, step, rank, int(gene))
            for rank, gene in enumerate(order)
            for step in range(self._base[gene])
        ]
        self._steps = tuple(gene for *_, gene in sorted(events))

    def __len__(self) -> int:
        return len(self._steps) + 1

    def __getitem__(self, steps: int) -> Indices:
        """The genome after so many steps, from 0 to ``len - 1``."""
        if not 0 <= steps < len(self):
            raise IndexError(steps)
        genome = list(self._base)
        for gene in self._steps[:steps]:
            genome[gene] -= 1
        return tuple(genome)


def halving(count: int) -> list[int]:
    """The numbers from 0 to ``count - 1`` any first ones spread: the ends, the middle, and so on."""
    found = dict.fromkeys([0, count - 1] if count else [])
    parts = 2
    while len(found) < count:
        found |= dict.fromkeys(round(part * (count - 1) / parts) for part in range(1, parts))
        parts *= 2
    return list(found)
