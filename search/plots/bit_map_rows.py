"""Collecting the bit map: the width of every gene at every point along the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitfront.search.gene_columns import GeneColumn
from bitfront.search.run_reader import Run
from bitfront.search.selection import KNEE, pick
from bitfront.spaces import KINDS

MAX_ROWS = 40
_TITLES = {"weights": "weights", "activations": "activations", "attention": "attention", None: "all bits"}


class BitMapRow(NamedTuple):
    """One front point: trial, top-1 in percent, size in bytes, and whether it is the knee."""

    trial: int
    top1: float
    size_bytes: float
    knee: bool


class BitMapGroup(NamedTuple):
    """Neighbouring columns of one kind: title, first column, and each encoder's first column and width."""

    title: str
    start: int
    encoders: tuple[tuple[int, int, int], ...]

    @property
    def end(self) -> int:
        """One past the last column."""
        _, start, width = self.encoders[-1]
        return start + width


class BitMapInfo(NamedTuple):
    """All that a bit map draws.

    Attributes:
        rows: Front points, smallest first.
        groups: Columns grouped by kind, in the order weights, activations, attention.
        bits: Widths, shape ``[rows, columns]``.
        widths: Every width that may occur, ascending.
        hidden: Front points left out for want of room.
    """

    rows: tuple[BitMapRow, ...]
    groups: tuple[BitMapGroup, ...]
    bits: NDArray[np.int64]
    widths: tuple[int, ...]
    hidden: int


def collect_bit_map(run: Run) -> BitMapInfo:
    """The bit map of a run's front, thinned evenly to ``MAX_ROWS`` rows that keep both ends and the knee."""
    front = run.front.sort_values(["size_bytes", "top1", "trial"]).reset_index(drop=True)
    knee = int(pick(front, KNEE, run.objectives)["trial"])
    chosen = _thin(len(front), int((front["trial"] == knee).to_numpy().argmax()))
    shown = front.iloc[chosen]
    genes = sorted(run.genes, key=lambda gene: (_kind_order(gene), gene.encoder))
    bits = shown[[gene.name for gene in genes]].to_numpy(dtype=np.int64)
    widths = {int(width) for width in run.evaluation.get("widths", ())} | set(np.unique(bits).tolist())
    rows = [
        BitMapRow(int(trial), float(top1), float(size), int(trial) == knee)
        for trial, top1, size in zip(shown["trial"], shown["top1"], shown["size_bytes"], strict=True)
    ]
    return BitMapInfo(tuple(rows), _groups(genes), bits, tuple(sorted(widths)), len(front) - len(rows))


def _kind_order(gene: GeneColumn) -> int:
    return -1 if gene.kind is None else KINDS.index(gene.kind)


def _thin(count: int, keep: int) -> list[int]:
    if count <= MAX_ROWS:
        return list(range(count))
    chosen = np.unique(np.linspace(0, count - 1, MAX_ROWS).round().astype(int))
    inner = 1 + int(np.abs(chosen[1:-1] - keep).argmin())
    if keep not in chosen:
        chosen[inner] = keep
    return [int(position) for position in chosen]


def _groups(genes: Sequence[GeneColumn]) -> tuple[BitMapGroup, ...]:
    groups: list[BitMapGroup] = []
    for kind in (None, *KINDS):
        columns = [position for position, gene in enumerate(genes) if gene.kind == kind]
        if columns:
            encoders = [genes[position].encoder for position in columns]
            spans = [(e, columns[encoders.index(e)], encoders.count(e)) for e in sorted(set(encoders))]
            groups.append(BitMapGroup(_TITLES[kind], columns[0], tuple(spans)))
    return tuple(groups)
