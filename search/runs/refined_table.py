"""The table of the refined points of a run, refined.csv: columns of front.csv, and what refining brought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.files import csv_text, write_atomically
from bitfront.search.runs.columns import Column, Schema
from bitfront.search.runs.refined import RefinedPoint, refined_points
from bitfront.spaces.formats import written_format

if TYPE_CHECKING:
    import pandas as pd

    from bitfront.search.runs.reader import RecordedRun

TABLE = "refined.csv"


def write_refined_table(run: RecordedRun) -> None:
    """Writes a row for each refined point; costs are those of the trial, whose formats it has.

    Raises:
        UserError: The folder is not writable.
        BitfrontError: The disk is full.
    """
    schema, genes = run.schema, [gene.name for gene in run.genes]
    leading, further = schema.leading, _further(schema)
    trials, points = (_by_digest(table) for table in (run.trials, run.front))
    rows = []
    for point in refined_points(run.path):
        values = {**trials.get(point.digest, {}), **points.get(point.digest, {}), **_values(point, schema)}
        bits = [values.get(name) for name in genes]
        cells = [[_cell(column, values.get(column.name)) for column in part] for part in (leading, further)]
        chosen = ("" if value is None else str(value) for value in map(written_format, bits))
        rows.append([*cells[0], *chosen, *cells[1]])
    header = [*(column.name for column in leading), *genes, *(column.name for column in further)]
    write_atomically(run.path / TABLE, csv_text(header, rows))


def _by_digest(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    rows = table.to_dict("records")
    return {str(row["digest"]): {str(name): value for name, value in row.items()} for row in rows}


def _further(schema: Schema) -> tuple[Column, ...]:
    """Counts of each split, and the difference to the point as it was in what the front is judged by."""
    name, decimals = schema.quality.name, schema.quality.decimals
    found: list[Column] = []
    for side in ("", "test_"):
        found += [Column(f"{side}{count}", decimals=0) for count in ("lost", "won")]
        found += [
            Column(f"{side}{name}{end}", decimals=decimals)
            for end in ("_before", "_gain", "_gain_standard_error")
        ]
    return tuple(found)


def _values(point: RefinedPoint, schema: Schema) -> dict[str, Any]:
    name, found = schema.quality.name, dict[str, Any]()
    for side, compared in (("", point.search), ("test_", point.test)):
        figures: Mapping[str, float] = compared.after.figures()
        found |= {f"{side}{metric}": value for metric, value in figures.items()}
        gain = compared.differences[name]
        found[f"{side}{name}_before"] = compared.before.values[name]
        found |= {f"{side}{name}_gain": gain.value, f"{side}{name}_gain_standard_error": gain.error}
    return found


def _cell(column: Column, value: Any) -> str:
    """As it is written; empty for what is not a number."""
    return "" if value is None or value != value else column.cell(value)
