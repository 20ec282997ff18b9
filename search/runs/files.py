"""Reading files of a run folder as tables and JSON documents, with one-line errors that name the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bitfront.search.runs.columns import SCHEMA
from bitfront.spaces import UserError


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


def read_table(path: Path, required: Sequence[str], genes: Iterable[str] = ()) -> pd.DataFrame:
    """A CSV table of a run: numbers and genes as float64 (NaN where empty), ``feasible`` as booleans.

    Args:
        path: The file.
        required: Columns that it must have, besides those of the genes.
        genes: Names of the gene columns.

    Raises:
        UserError: The file is absent, is not a CSV table, lacks a column or has text where a number belongs.
    """
    texts = {column.name: str for column in SCHEMA.values() if column.kind != "number"}
    try:
        table = pd.read_csv(path, dtype=texts)
    except FileNotFoundError:
        raise absent_file(path) from None
    except ValueError as error:
        raise damaged_file(path, error) from error
    missing = [column for column in (*required, *genes) if column not in table.columns]
    if missing:
        raise damaged_file(path, f"there is no column {missing[0]!r}")
    try:
        return _typed(table, genes)
    except (ValueError, TypeError) as error:
        raise damaged_file(path, error) from error


def _typed(table: pd.DataFrame, genes: Iterable[str]) -> pd.DataFrame:
    known = [column for name, column in SCHEMA.items() if name in table.columns]
    numbers = [column.name for column in known if column.kind == "number"]
    texts = [column.name for column in known if column.kind == "text"]
    flags = [column.name for column in known if column.kind == "flag"]
    table = table.assign(
        **{name: pd.to_numeric(table[name]).astype(float) for name in (*numbers, *genes)},
        **{name: table[name].fillna("") for name in texts},
        **{name: table[name].str.lower().isin(["true", "1"]) for name in flags},
    )
    return table.assign(trial=table["trial"].astype("int64"))


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
