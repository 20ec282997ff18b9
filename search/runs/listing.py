"""The runs in a folder: their names, the latest one and a summary of each."""

from __future__ import annotations

import csv
import difflib
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.files import readable
from bitfront.search.problem.wording import quantization
from bitfront.search.runs.columns import Schema
from bitfront.search.runs.files import SPEC, TRIALS, read_spec_document, read_table
from bitfront.search.runs.journal import JOURNAL, evaluations_recorded
from bitfront.search.runs.locks import is_locked
from bitfront.search.runs.names import command_line, runs_dir_options
from bitfront.search.runs.summary import read_summary
from bitfront.spaces import BitfrontError, UserError

RUNNING, KILLED = "running", "killed"
DAMAGED = "damaged"


@dataclass(frozen=True)
class RunSummary:
    """One line about a run.

    Attributes:
        name: The run's name.
        changed: When it was last written to, in seconds since the epoch.
        state: Why it stopped, ``running``, ``killed``, or what is wrong with its files.
        model: The model's name, or empty.
        data: The data set, or empty.
        quantization: Scheme and recipe in words, or empty.
        evaluations: Evaluations done.
        budget: Evaluations asked for; 0 if unknown.
        front_points: Points on the front.
        metric: The metric that the front is judged by, such as ``top1``; empty without a front.
        quality: The same for people.
        quality_unit: Its unit.
        best_quality: Its best value on the front, NaN without a front.
        smallest_bytes: Smallest size on the front in bytes, NaN without a front.
        fastest_ms: Lowest latency on the front in milliseconds, NaN without a front.
    """

    name: str
    changed: float
    state: str
    model: str = ""
    data: str = ""
    quantization: str = ""
    evaluations: int = 0
    budget: int = 0
    front_points: int = 0
    metric: str = ""
    quality: str = ""
    quality_unit: str = ""
    best_quality: float = float("nan")
    smallest_bytes: float = float("nan")
    fastest_ms: float = float("nan")

    @property
    def status(self) -> str:
        """The state in a word: ``finished``, ``interrupted``, ``running``, ``killed`` or ``damaged``."""
        word = self.state.partition(":")[0]
        return word if word in ("interrupted", RUNNING, KILLED, DAMAGED) else "finished"


def last_change(folder: Path) -> float:
    """When a run was last written to, in seconds since the epoch."""
    times = [0.0]
    for name in (SPEC, TRIALS, "summary.json"):
        with suppress(OSError):
            times.append((folder / name).stat().st_mtime)
    return max(times)


def run_names(root: Path) -> list[str]:
    """Names of the runs in a folder, the one changed last first; none where there is no such folder."""
    if not root.exists():
        return []
    with readable(root):  # which a pattern would pass over in silence
        names = os.listdir(root)
    folders = [root / name for name in names if not name.startswith(".") and _is_run(root / name)]
    return [p.name for p in sorted(folders, key=lambda p: (last_change(p), p.name), reverse=True)]


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run; one that may not be looked into is told among them."""
    try:
        return (folder / SPEC).exists()
    except PermissionError:
        return True


def latest_run(root: Path) -> str:
    """Name of the run that was changed last; raises :class:`UserError` where there is none."""
    names = run_names(root)
    if not names:
        raise UserError(f"there are no runs in {root}: start one with `{_command(root, 'search')}`")
    return names[0]


def unknown_run(root: Path, name: str) -> UserError:
    """The error for a run that does not exist, with the nearest names."""
    names = run_names(root)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return UserError(f"there is no run {name!r} in {root}: did you mean {' or '.join(near)}?")
    if names:
        there = f"`{_command(root, 'runs')}` lists the {len(names)} there"
        return UserError(f"there is no run {name!r} in {root}: {there}")
    return UserError(
        f"there is no run {name!r} in {root}, nor any other: start one with `{_command(root, 'search')}`"
    )


def _command(root: Path, command: str) -> str:
    return command_line(command, *runs_dir_options(root))


def list_runs(root: Path) -> list[RunSummary]:
    """A summary of every run in a folder, the one changed last first; damaged runs say so in their state."""
    return [_summarize(root / name) for name in run_names(root)]


def _summarize(folder: Path) -> RunSummary:
    changed = last_change(folder)
    try:
        spec = read_spec_document(folder)
        summary = read_summary(folder)
        evaluation = spec.get("evaluation") or {}
        return RunSummary(
            folder.name,
            changed,
            state=run_state(folder, summary),
            model=str(evaluation.get("model", "")),
            data=str(evaluation.get("data", "")),
            quantization=quantization(evaluation),
            evaluations=max(int(summary.get("evaluations") or 0), _evaluations(folder)),
            budget=int(spec.get("evaluations") or 0),
            **_best(folder, Schema.of(spec)),
        )
    except (BitfrontError, OSError, TypeError, ValueError, OverflowError) as error:
        return RunSummary(folder.name, changed, f"{DAMAGED}: {error}")


def run_state(folder: Path, summary: Mapping[str, Any]) -> str:
    """Why a run stopped, or that it runs; one that says neither was killed."""
    if is_locked(folder):
        return RUNNING
    ended = str(summary.get("stopped_because") or "")
    # A summary is written where a part of a run ends: what was evaluated since, a later part did.
    later = int(summary.get("evaluations") or 0) < evaluations_recorded(folder / JOURNAL)
    return KILLED if not ended or later else ended


def _evaluations(folder: Path) -> int:
    """How many candidates were evaluated, by the journal or, of a study in a database, by the table."""
    recorded = evaluations_recorded(folder / JOURNAL)
    if recorded or not (folder / TRIALS).is_file():
        return recorded
    with (folder / TRIALS).open(encoding="utf-8", errors="replace", newline="") as file:
        return sum(row.get("state") not in (None, "rejected") for row in csv.DictReader(file))


def _best(folder: Path, schema: Schema) -> dict[str, Any]:
    if not (folder / "front.csv").is_file():
        return {}
    front = read_table(folder / "front.csv", schema.by_name, schema.front)
    name, best = schema.quality.name, math.nan
    if name in front:  # runs of earlier versions wrote no other metric than top-1 and the loss
        best = front[name].max() if schema.quality.direction == "maximise" else front[name].min()
    return {
        "front_points": len(front),
        "metric": schema.quality.name,
        "quality": schema.quality.title,
        "quality_unit": schema.quality.unit,
        "best_quality": float(best),
        "smallest_bytes": float(front["size_bytes"].min()),
        "fastest_ms": float(front["latency_ms"].min()),
    }
