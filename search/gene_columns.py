"""Gene columns of ``trials.csv`` and ``front.csv``: which encoder and kind of tensor a column stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from bitfront.spaces import KINDS, Kind

_GENE = re.compile(r"encoder(\d+)(?:\.(?:(.+)\.)?(weights|activations|attention))?")


class GeneColumn(NamedTuple):
    """One gene column, such as ``encoder03.attn.qkv.weights``.

    Attributes:
        name: The column's name.
        encoder: Index of the encoder.
        layer: The linear layer, or None where the gene covers the whole encoder.
        kind: The kind of tensor, or None where the gene sets all three.
    """

    name: str
    encoder: int
    layer: str | None
    kind: Kind | None


class MeanBits(NamedTuple):
    """Mean width of each kind over its genes, in bits."""

    weights: float
    activations: float
    attention: float


def gene_columns(columns: Iterable[str]) -> tuple[GeneColumn, ...]:
    """The gene columns among a table's columns, in order."""
    matches = ((name, _GENE.fullmatch(name)) for name in columns)
    return tuple(
        GeneColumn(name, int(match.group(1)), match.group(2), cast(Kind | None, match.group(3)))
        for name, match in matches
        if match is not None
    )


def mean_bits(row: Mapping[str, Any], genes: Sequence[GeneColumn]) -> MeanBits:
    """Mean bits of one assignment, every gene counting once; NaN for a kind without genes."""

    def mean(kind: Kind) -> float:
        bits = [float(row[gene.name]) for gene in genes if gene.kind in (kind, None)]
        return sum(bits) / len(bits) if bits else float("nan")

    return MeanBits(*(mean(kind) for kind in KINDS))
