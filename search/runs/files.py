"""Files of a run folder as tables and JSON documents, with one-line errors that name the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd

from bitfront.spaces import KINDS, Kind, UserError

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


RESULT_COLUMNS = ("top1", "loss", "latency_ms", "latency_measured_ms", "size_bytes", "test_top1")
FRONT_COLUMNS = ("trial", "digest", "latency_source", *RESULT_COLUMNS)
TRIAL_COLUMNS = (*FRONT_COLUMNS, "state", "feasible")
# Columns that runs of earlier versions lack.
COUNT_COLUMNS = ("lost", "won", "test_lost", "test_won")
_TEXT = {"digest": str, "latency_source": str, "state": str, "feasible": str, "error": str}


def read_json(path: Path, kind: type, absent: Any = None) -> Any:
    """The JSON document in ``path``, which must be of type ``kind``; ``absent`` if there is no file.

    Raises:
        UserError: The file is absent and ``absent`` is None, or it is not such a document.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if absent is not None:
            return absent
        raise absent_file(path) from None
    except ValueError as error:
        raise damaged_file(path, error) from error
    if not isinstance(document, kind):
        raise damaged_file(path, f"expected a JSON {'object' if kind is dict else 'array'}")
    return document


def read_table(path: Path, required: Sequence[str]) -> pd.DataFrame:
    """A CSV table of a run: results and genes as float64 (NaN where empty), ``feasible`` as booleans.

    Raises:
        UserError: The file is absent, is not a CSV table, lacks a column or has text where a number belongs.
    """
    try:
        table = pd.read_csv(path, dtype=_TEXT)
    except FileNotFoundError:
        raise absent_file(path) from None
    except ValueError as error:
        raise damaged_file(path, error) from error
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise damaged_file(path, f"there is no column {missing[0]!r}")
    try:
        return _typed(table)
    except (ValueError, TypeError) as error:
        raise damaged_file(path, error) from error


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    counts = [name for name in COUNT_COLUMNS if name in table.columns]
    numbers = [*RESULT_COLUMNS, *counts, *(gene.name for gene in gene_columns(table.columns))]
    table = table.assign(**{name: pd.to_numeric(table[name]).astype(float) for name in numbers})
    table = table.assign(
        trial=pd.to_numeric(table["trial"]).astype("int64"),
        latency_source=table["latency_source"].fillna(""),
    )
    if "error" in table.columns:
        table = table.assign(error=table["error"].fillna(""))
    if "feasible" in table.columns:
        table = table.assign(feasible=table["feasible"].str.lower().isin(["true", "1"]))
    return table


def absent_file(path: Path) -> UserError:
    """The error for a file that a run lacks."""
    return UserError(
        f"{path} is missing: the run has no results yet or lost the file; "
        f"wait for it, or go on with `bitfront search --resume {path.parent.name}`"
    )


def damaged_file(path: Path, reason: object) -> UserError:
    """The error for a file that cannot be read as what it should be."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return UserError(
        f"{path} is damaged ({lines[0]}): restore it, or write it again with "
        f"`bitfront search --resume {path.parent.name}`"
    )
