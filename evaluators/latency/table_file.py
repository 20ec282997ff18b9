"""Latency tables as CSV files, which people may also fill in by hand for a phone or an accelerator.

One row is one time: of an ``encoder`` shape at some bits, of the ``rest`` of the quantized model, or of the
whole ``float_model``; ``docs/latency-tables.md`` says what each column holds. There must be one row ``rest``,
one row ``float_model``, and a row for every encoder shape of the model at every combination of the searched
bits and at 8 bits throughout. The latency of a configuration is ``rest`` plus the sum of its encoders' rows.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.files import csv_text
from bitfront.evaluators.latency.table import Latency, LatencyTable, encoder_shape
from bitfront.spaces import KINDS, SCHEMES, Choices, FormatName, Triple, UserError, triples
from bitfront.spaces.formats import label, named_format, order

if TYPE_CHECKING:
    from bitfront.evaluators.models.blueprint import Blueprint

ENCODER, REST, FLOAT_MODEL = "encoder", "rest", "float_model"
# Columns that must say the same in every row that has them.
_UNIFORM = ("scheme", "machine", "threads", "sum_error_percent")
Row = Mapping[str, str | None]
REQUIRED = ("part", "shape", "weights", "activations", "attention", "milliseconds", "batch")
COLUMNS = (*REQUIRED[:-1], "spread_percent", "batch", "source", *_UNIFORM)


@dataclass
class _Rows:
    """What the rows of a file say, taken together: the line and time of each part, the values of columns."""

    parts: dict[str | tuple[str, Triple], tuple[int, Latency]] = field(default_factory=dict)
    values: defaultdict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, number: int, row: Row) -> None:
        """Takes a row; raises ValueError or TypeError for one that is not understood."""
        milliseconds = float(row["milliseconds"] or "")
        if not 0 < milliseconds < math.inf:
            raise ValueError(f"{row['milliseconds']!r} is not a positive time")
        entry = Latency(milliseconds, float(row.get("spread_percent") or 0.0))
        images = int(row["batch"] or "")
        if images < 1:
            raise ValueError(f"batch {row['batch']} is below 1")
        self.values["batch"][str(images)] = None
        for name in ("source", *_UNIFORM):
            if value := (row.get(name) or "").strip():
                self.values[name][value] = None
        _threads(row.get("threads") or "")
        _sum_error(row.get("sum_error_percent") or "")
        what = row["part"] or ""
        part: str | tuple[str, Triple] = what
        if part == ENCODER:
            w, a, t = (named_format(row[kind] or "", kind) for kind in KINDS)
            shape = row["shape"] or ""
            part, what = (shape, (w, a, t)), f"encoder {shape} at {label((w, a, t))}"
        elif part not in (REST, FLOAT_MODEL):
            raise ValueError(f"part {part!r} is unknown")
        if part in self.parts:
            raise ValueError(f"{what} has a time in line {self.parts[part][0]} already")
        self.parts[part] = number, entry
        if row.get("scheme") and (row["scheme"] or "").strip() not in SCHEMES:
            raise ValueError(f"scheme {row['scheme']!r} is unknown: expected {' or '.join(SCHEMES)}")

    def table(self, path: Path) -> LatencyTable:
        """The table of the rows; raises UserError where parts are missing or contradict one another."""
        encoders = {part: entry for part, (_, entry) in self.parts.items() if isinstance(part, tuple)}
        missing = [] if encoders else [ENCODER]
        missing += [part for part in (REST, FLOAT_MODEL) if part not in self.parts]
        batches = sorted(map(int, self.values["batch"]))
        if missing or len(batches) != 1:
            raise UserError(
                f"latency table {path} needs rows encoder, rest and float_model, all of one batch size; "
                f"missing: {', '.join(missing) or 'none'}, batch sizes: {batches}"
            )
        for name in _UNIFORM:
            if len(self.values[name]) > 1:
                named = ", ".join(self.values[name])
                raise UserError(f"latency table {path} must have one {name} in all rows, not {named}")
        source = ", ".join(sorted(self.values["source"])) or "unnamed"
        scheme, machine, threads, error = ("".join(self.values[name]) for name in _UNIFORM)
        (_, rest), (_, whole) = self.parts[REST], self.parts[FLOAT_MODEL]
        said = source, scheme, machine, _threads(threads), _sum_error(error)
        return LatencyTable(encoders, rest, whole, batches[0], *said)


def _threads(text: str) -> int:
    """Threads of an inference; 1 where a table, such as one of an earlier version, does not say."""
    threads = int(text.strip() or 1)
    if threads < 1:
        raise ValueError(f"threads {text} is below 1")
    return threads


def _sum_error(text: str) -> float:
    """The error of sums as a share; 0 where a table does not say."""
    percent = float(text.strip() or 0.0)
    if not 0.0 <= percent < math.inf:
        raise ValueError(f"sum_error_percent {text} is no share in percent")
    return percent / 100.0


def table_csv(table: LatencyTable) -> str:
    """A table as CSV text with the columns of :data:`COLUMNS`."""
    error = f"{100.0 * table.sum_error:.3g}" if table.sum_error else ""

    def cells(entry: Latency) -> list[str]:
        spread = f"{entry.spread_percent:.3g}"
        said = [table.source, table.scheme, table.machine, str(table.threads), error]
        return [repr(entry.milliseconds), spread, str(table.batch), *said]

    encoders = [(key, cells(entry)) for key, entry in sorted(table.encoders.items(), key=_place)]
    return _csv(encoders, cells(table.rest), cells(table.float_model))


def _place(entry: tuple[tuple[str, Triple], Latency]) -> tuple[str, tuple[int, ...]]:
    """Where a row stands: by shape, and from narrow to wide."""
    (shape, triple), _ = entry
    return shape, tuple(map(order, triple))


def template_csv(
    blueprint: Blueprint, choices: Choices | Iterable[FormatName], batch: int, scheme: str, threads: int = 1
) -> str:
    """A table of a model without milliseconds, to be filled in.

    Args:
        blueprint: The model.
        choices: Formats of the search; the row of 8 bits throughout is always there.
        batch: Images of a batch.
        scheme: The quantization scheme.
        threads: Of an inference.
    """
    needed = dict.fromkeys([(8, 8, 8), *triples(choices)])
    shapes = dict.fromkeys(map(encoder_shape, blueprint.encoders))
    empty = ["", "", str(batch), "", scheme, "", str(threads), ""]
    return _csv([(key, empty) for key in itertools.product(shapes, needed)], empty, empty)


def _csv(
    encoders: Iterable[tuple[tuple[str, Triple], list[str]]], rest: list[str], float_model: list[str]
) -> str:
    rows: list[Iterable[object]] = [
        *([ENCODER, shape, *bits, *cells] for (shape, bits), cells in encoders),
        *([part, "", "", "", "", *cells] for part, cells in ((REST, rest), (FLOAT_MODEL, float_model))),
    ]
    return csv_text(COLUMNS, rows)


def read_table(path: Path) -> LatencyTable:
    """Reads a table.

    Raises:
        UserError: The file cannot be read, is not filled in, or a row is not understood; the line is named.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
            missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"latency table {path} cannot be read ({error}): give a CSV file") from error
    if missing:
        raise UserError(
            f"latency table {path} has no column {', '.join(missing)}: expected {','.join(COLUMNS)} in its "
            "first line"
        )
    empty = [number for number, row in rows if row["part"] and not (row["milliseconds"] or "").strip()]
    if empty:
        raise UserError(
            f"latency table {path} is not filled in: {len(empty)} of {len(rows)} rows have no milliseconds "
            f"({_lines(empty)})"
        )
    found = _Rows()
    for number, row in rows:
        try:
            found.add(number, row)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"latency table {path}, line {number}: {error}; expected columns {','.join(COLUMNS)}"
            ) from error
    return found.table(path)


def _lines(numbers: Sequence[int]) -> str:
    """Line numbers in words, such as ``lines 2 to 9, 11``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"line{'' if len(numbers) == 1 else 's'} {', '.join(words)}"
