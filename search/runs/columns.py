"""The columns of trials.csv and front.csv: names, types and decimals, for the writer and for the reader."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from bitfront.search.problem.objectives import OBJECTIVES
from bitfront.spaces import KINDS, Kind, SearchSpace

_GENE = re.compile(r"encoder(\d+)(?:\.(?:(.+)\.)?(weights|activations|attention))?")


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: Its heading.
        kind: What stands in it; an empty cell is an empty text, or a number that is not known.
        decimals: Of numbers; None for six significant digits.
    """

    name: str
    kind: Literal["text", "number", "flag"] = "number"
    decimals: int | None = None

    def cell(self, value: Any) -> str:
        """A value as it is written; empty for None."""
        if value is None:
            return ""
        if self.kind == "number":
            return f"{value:.6g}" if self.decimals is None else f"{value:.{self.decimals}f}"
        return str(value).lower() if self.kind == "flag" else str(value)


LEADING = (
    Column("trial", decimals=0),
    Column("digest", "text"),
    Column("top1", decimals=4),
    Column("loss", decimals=6),
    Column("latency_ms"),
    Column("latency_source", "text"),
    Column("latency_measured_ms"),
    Column("size_bytes", decimals=0),
    Column("test_top1", decimals=4),
)
# Genes stand before these, violations behind them.
STATE = (Column("state", "text"), Column("feasible", "flag"))
# Columns that runs of earlier versions may lack.
_ALWAYS = (
    Column("images", decimals=0),
    Column("top5", decimals=4),
    Column("kl", decimals=6),
    Column("agreement", decimals=4),
    Column("lost", decimals=0),
    Column("won", decimals=0),
)
_NAMED = {column.name for column in (*LEADING, *_ALWAYS)}
REST = (
    *_ALWAYS,
    *(Column(o.column, decimals=o.decimals) for o in OBJECTIVES.values() if o.column not in _NAMED),
    Column("test_lost", decimals=0),
    Column("test_won", decimals=0),
    Column("error", "text"),
)
SCHEMA = {column.name: column for column in (*LEADING, *STATE, *REST)}
FRONT_COLUMNS = tuple(column.name for column in LEADING)
TRIAL_COLUMNS = (*FRONT_COLUMNS, *(column.name for column in STATE))


def violation_column(constraint: str) -> Column:
    """The column of a constraint's violations."""
    return Column(f"violation.{constraint}")


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


def gene_columns(space: SearchSpace) -> tuple[GeneColumn, ...]:
    """The gene columns of a search space, in genome order."""
    found = []
    for gene in space.genes:
        slot = gene.slots[0]
        kind = None if space.granularity == "encoder" else slot.kind
        layer = slot.layer if space.granularity == "layer" and kind != "attention" else None
        found.append(GeneColumn(gene.name, slot.encoder, layer, kind))
    return tuple(found)


def gene_columns_named(columns: Iterable[str]) -> tuple[GeneColumn, ...]:
    """The gene columns among a table's columns, for runs of versions that did not record their space."""
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
