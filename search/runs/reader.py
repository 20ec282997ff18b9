"""Reading a run folder: what was asked, every trial, the front, reference models and the summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bitfront.search.problem.references import FLOAT_NAME
from bitfront.search.runs.files import (
    FRONT_COLUMNS,
    TRIAL_COLUMNS,
    GeneColumn,
    damaged_file,
    gene_columns,
    read_json,
    read_table,
)
from bitfront.search.runs.folder import SPEC, checked_name
from bitfront.search.runs.listing import unknown_run


@dataclass(frozen=True)
class Reference:
    """A model that a front is compared with, such as ``float32`` or ``W8A8T8``; NaN where not measured.

    Attributes:
        name: What it is called in plots and tables.
        top1: Top-1 on the search split in percent; higher is better.
        loss: Cross-entropy on the search split in nats; lower is better.
        latency_ms: Latency from the run's latency source in milliseconds; lower is better.
        latency_source: Where ``latency_ms`` comes from, or empty.
        latency_measured_ms: Measured whole-model latency in milliseconds.
        size_bytes: Packed size in bytes; lower is better.
        test_top1: Top-1 on the test split in percent.
        images: Images of the search split.
        lost: Those that only the float model gets right.
        won: Those that only this model gets right.
        test_images: Images of the test split.
        test_lost: Those that only the float model gets right.
        test_won: Those that only this model gets right.
    """

    name: str
    top1: float
    loss: float
    latency_ms: float
    latency_source: str
    latency_measured_ms: float
    size_bytes: float
    test_top1: float
    images: float = math.nan
    lost: float = math.nan
    won: float = math.nan
    test_images: float = math.nan
    test_lost: float = math.nan
    test_won: float = math.nan


@dataclass(frozen=True)
class RecordedLimit:
    """A limit of a run, resolved to a number.

    Attributes:
        name: ``max_size``, ``max_latency``, ``min_top1``, ``max_drop`` or the name of a built-in limit.
        column: The column it bounds.
        bound: The bound in that column's unit.
        text: What the user wrote, such as ``0.6x``.
    """

    name: str
    column: str
    bound: float
    text: str

    @property
    def label(self) -> str:
        """The limit as its option, or in words where it has none."""
        if self.text.startswith("--"):
            return self.text
        if self.name.startswith(("max_", "min_")):
            return f"--{self.name.replace('_', '-')} {self.text}".strip()
        return self.name.replace("_", " ")


@dataclass(frozen=True, eq=False)
class Run:
    """What a run folder holds.

    Attributes:
        name: The run's name.
        path: Its folder.
        spec: ``spec.json``.
        trials: ``trials.csv``, one row per trial; results are NaN for rejected and failed trials.
        front: ``front.csv``, one row per front point.
        references: ``references.json``; empty while the run is being prepared.
        limits: The limits in force, from ``summary.json``.
        summary: ``summary.json``; empty while it does not exist.
    """

    name: str
    path: Path
    spec: dict[str, Any]
    trials: pd.DataFrame
    front: pd.DataFrame
    references: tuple[Reference, ...]
    limits: tuple[RecordedLimit, ...]
    summary: dict[str, Any]

    @property
    def evaluation(self) -> dict[str, Any]:
        """The ``evaluation`` part of the spec."""
        return dict(self.spec.get("evaluation") or {})

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the run's objectives, such as ``("top1", "latency", "size")``."""
        return tuple(self.spec.get("objectives") or ("top1", "latency", "size"))

    @property
    def genes(self) -> tuple[GeneColumn, ...]:
        """The gene columns of the front."""
        return gene_columns(self.front.columns)

    @property
    def latency_source(self) -> str:
        """Where ``latency_ms`` comes from, such as ``table:FILE`` or ``model:bops``; empty if unknown."""
        named = [str(self.summary.get("latency_source") or ""), *self.front["latency_source"]]
        return next((source for source in named if source), "")

    @property
    def latency_measured_source(self) -> str:
        """Where ``latency_measured_ms`` comes from; the first versions timed whole models in torch alone."""
        return str(self.summary.get("latency_measured_source") or "measured:torch")

    @property
    def latency_batch(self) -> int | None:
        """Images of the batch that ``latency_ms`` is for, or None where the run does not say."""
        batch = self.summary.get("latency_batch")
        return int(batch) if isinstance(batch, int | float) else None

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Every error that ended an evaluation, with the numbers of its trials."""
        failed = self.trials[self.trials["state"] == "failed"]
        errors = failed["error"] if "error" in failed.columns else [""] * len(failed)
        numbers: dict[str, list[int]] = {}
        for number, error in zip(failed["trial"], errors, strict=True):
            numbers.setdefault(error or "no reason was recorded", []).append(int(number))
        return [{"error": error, "trials": found} for error, found in numbers.items()]

    @property
    def float_reference(self) -> Reference | None:
        """The float model, where it has been measured."""
        return next((r for r in self.references if r.name == FLOAT_NAME), None)


def open_run(root: Path, name: str) -> Run:
    """Reads the run ``name`` in the folder ``root``.

    Raises:
        UserError: The name is not one, there is no such run (the nearest names are offered), or a file of
            it is absent or damaged (it is named).
    """
    folder = root / checked_name(name)
    if not (folder / SPEC).is_file():
        raise unknown_run(root, name)
    summary = read_json(folder / "summary.json", dict, absent={})
    return Run(
        name,
        folder,
        read_json(folder / SPEC, dict),
        read_table(folder / "trials.csv", TRIAL_COLUMNS),
        read_table(folder / "front.csv", FRONT_COLUMNS),
        _read_references(folder / "references.json"),
        _read_limits(folder / "summary.json", summary),
        summary,
    )


def _read_references(path: Path) -> tuple[Reference, ...]:
    try:
        return tuple(_reference(entry) for entry in read_json(path, list, absent=[]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error


def _reference(entry: Mapping[str, Any]) -> Reference:
    def number(key: str) -> float:
        value = entry.get(key)
        return math.nan if value is None else float(value)

    return Reference(
        str(entry["name"]),
        number("top1"),
        number("loss"),
        number("latency_ms"),
        str(entry.get("latency_source") or ""),
        number("latency_measured_ms"),
        number("size_bytes"),
        number("test_top1"),
        *(number(f"{split}{count}") for split in ("", "test_") for count in ("images", "lost", "won")),
    )


def _read_limits(path: Path, summary: Mapping[str, Any]) -> tuple[RecordedLimit, ...]:
    try:
        return tuple(
            RecordedLimit(str(e["name"]), str(e["column"]), float(e["bound"]), str(e.get("text") or ""))
            for e in summary.get("limits") or ()
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_file(path, f"limits: {type(error).__name__}: {error}") from error
