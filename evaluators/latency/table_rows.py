"""The rows of a latency table, checked one by one and put together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bitfront.evaluators.latency.table import Entry, LatencyTable
from bitfront.spaces import SCHEMES, Triple, UserError

ENCODER, REST, FLOAT_MODEL = "encoder", "rest", "float_model"
# Columns that must say the same in every row that has them.
_UNIFORM = ("scheme", "machine")
Row = Mapping[str, str | None]


@dataclass
class TableRows:
    """What the rows of a file say, taken together."""

    encoders: dict[tuple[str, Triple], Entry] = field(default_factory=dict)
    single: dict[str, Entry] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    lines: dict[object, int] = field(default_factory=dict)

    def add(self, number: int, row: Row) -> None:
        """Takes a row; raises ValueError or TypeError for one that is not understood."""
        entry = Entry(_positive(row["milliseconds"]), float(row.get("spread_percent") or 0.0))
        self._note("batch", str(_batch(row["batch"])))
        for name in ("source", *_UNIFORM):
            self._note(name, (row.get(name) or "").strip())
        part = row["part"] or ""
        if part == ENCODER:
            bits = (_bits(row, "weights"), _bits(row, "activations"), _bits(row, "attention"))
            key = (row["shape"] or "", bits)
            self._once(number, key, f"encoder {key[0]} at W{bits[0]}A{bits[1]}T{bits[2]}")
            self.encoders[key] = entry
        elif part in (REST, FLOAT_MODEL):
            self._once(number, part, part)
            self.single[part] = entry
        else:
            raise ValueError(f"part {part!r} is unknown")
        if row.get("scheme") and (row["scheme"] or "").strip() not in SCHEMES:
            raise ValueError(f"scheme {row['scheme']!r} is unknown: expected {' or '.join(SCHEMES)}")

    def _note(self, name: str, value: str) -> None:
        known = self.values.setdefault(name, [])
        if value and value not in known:
            known.append(value)

    def _once(self, number: int, key: object, what: str) -> None:
        if key in self.lines:
            raise ValueError(f"{what} has a time in line {self.lines[key]} already")
        self.lines[key] = number

    def table(self, path: Path) -> LatencyTable:
        """The table of the rows; raises UserError where parts are missing or contradict one another."""
        missing = [] if self.encoders else [ENCODER]
        missing += [part for part in (REST, FLOAT_MODEL) if part not in self.single]
        batches = sorted(map(int, self.values.get("batch", ())))
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
        scheme, machine = ("".join(self.values[name]) for name in _UNIFORM)
        rest, whole = self.single[REST], self.single[FLOAT_MODEL]
        return LatencyTable(self.encoders, rest, whole, batches[0], source, scheme, machine)


def _positive(text: str | None) -> float:
    value = float(text or "")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{text!r} is not a positive time")
    return value


def _batch(text: str | None) -> int:
    images = int(text or "")
    if images < 1:
        raise ValueError(f"batch {text} is below 1")
    return images


def _bits(row: Row, column: str) -> int:
    return int(row[column] or "")
