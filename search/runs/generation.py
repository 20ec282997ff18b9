"""Runs of the task generation as their folders have them: tables, costs, and what was measured of points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitfront.evaluators.files import readable
from bitfront.evaluators.generation.bootstrap import Interval, mean_interval
from bitfront.evaluators.generation.costs import CostTable
from bitfront.evaluators.generation.footprint import Footprint
from bitfront.evaluators.generation.workbench import PictureFigures
from bitfront.evaluators.tasks.registry import GENERATION
from bitfront.search.runs.columns import Schema
from bitfront.search.runs.files import (
    SPEC,
    damaged_file,
    is_generation,
    read_json,
    read_spec_document,
    read_table,
)
from bitfront.search.runs.listing import unknown_run
from bitfront.search.runs.names import checked_name
from bitfront.spaces import UserError
from bitfront.spaces.part_formats import FormatConfig

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

COSTS, POINTS, SHEET, PICTURES = "costs.json", "points.json", "sheet.npz", "pictures"
COMPARED = "compared.json"


@dataclass(frozen=True)
class MeasuredPoint:
    """What was measured of one assignment after the search.

    Attributes:
        latency_ms: Of a whole picture.
        footprint: On the disk and in memory.
        figures: Of all pictures; None of the float pipeline.
    """

    latency_ms: float
    footprint: Footprint
    figures: PictureFigures | None


@dataclass(frozen=True)
class Compared:
    """A point that is better than one format everywhere.

    Attributes:
        trial: The point.
        uniform: The trial with one format everywhere.
        within: What it has no more of, in words, such as ``no more bytes``.
    """

    trial: int
    uniform: int
    within: str


@dataclass(frozen=True, eq=False)
class GenerationRun:
    """What a run folder of this task holds.

    Attributes:
        name: The run's name.
        path: Its folder.
        spec: ``spec.json``.
        summary: ``summary.json``; empty while there is none.
        trials: ``trials.csv``, one row per trial; genes are names of formats.
        front: ``front.csv``.
        genes: Names of the gene columns.
        costs: What was known of costs before the search.
        points: What was measured of points, by trial; the float pipeline under ``fp32``.
        compared: Points that are better than ``int8`` everywhere.
        interrupted: Whether the search was stopped before its end.
    """

    name: str
    path: Path
    spec: dict[str, Any]
    summary: dict[str, Any]
    trials: pd.DataFrame
    front: pd.DataFrame
    genes: tuple[str, ...]
    costs: CostTable
    points: Mapping[str, MeasuredPoint]
    compared: tuple[Compared, ...] = ()
    interrupted: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the components."""
        return tuple(self.costs.others)

    @property
    def evaluated(self) -> pd.DataFrame:
        """Trials whose pictures were made."""
        return self.trials[self.trials["state"] == "complete"]

    def row(self, trial: int) -> dict[str, Any]:
        """What the table has of a trial, by column."""
        rows: list[dict[Any, Any]] = self.trials[self.trials["trial"] == trial].to_dict("records")
        return {str(name): value for name, value in rows[0].items()}

    def config(self, trial: int) -> FormatConfig:
        """The formats of a trial."""
        row = self.row(trial)
        return FormatConfig(
            str(self.summary["pipeline"]), tuple((gene, str(row[gene])) for gene in self.genes)
        )

    def uniform(self, name: str) -> int | None:
        """The trial that has one format everywhere; None where it was not evaluated."""
        rows = self.evaluated
        found = rows[(rows[list(self.genes)] == name).all(axis=1)]
        return None if found.empty else int(found.iloc[0]["trial"])

    def figures(self, trial: int) -> PictureFigures:
        """Of a trial, of all pictures where it was measured by them, else of those of the search.

        Raises:
            UserError: The file is missing or damaged.
        """
        point = self.points.get(str(trial))
        if point is not None and point.figures is not None:
            return point.figures
        path = self.path / PICTURES / f"{self.config(trial).digest}-{self.summary['search_pictures']}.json"
        try:
            return PictureFigures.from_json(read_json(path, dict))
        except (KeyError, TypeError, ValueError) as error:
            raise damaged_file(path, error) from error

    def interval(self, trial: int, metric: str = "psnr") -> Interval:
        """Of the mean of a metric over pictures."""
        return mean_interval(getattr(self.figures(trial), metric))

    def sheet(self) -> dict[str, NDArray[Any]]:
        """Some pictures of every measured point, uint8 ``[pictures, channels, height, width]``, and labels.

        Raises:
            UserError: They are missing or damaged.
        """
        path = self.path / SHEET
        try:
            with readable(path), np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except FileNotFoundError:
            raise UserError(
                f"{path} is missing: the search of run {self.name} has not ended; go on with it"
            ) from None
        except (ValueError, OSError, KeyError) as error:
            raise damaged_file(path, error) from error


def read_generation_run(root: Path, name: str) -> GenerationRun:
    """Reads a run of this task as far as it has come.

    Raises:
        UserError: There is no such run, it is of another task, or a file of it is absent or damaged.
    """
    folder = root / checked_name(name)
    if not (folder / SPEC).is_file():
        raise unknown_run(root, name)
    if not is_generation(folder):
        raise UserError(
            f"run {name} is of another task than {GENERATION}: see it with `bitfront front {name}`"
        )
    spec, summary = read_spec_document(folder), read_json(folder / "summary.json", dict, absent={})
    try:
        costs = CostTable.from_json(read_json(folder / COSTS, dict))
        points = {
            str(key): _point(found) for key, found in read_json(folder / POINTS, dict, absent={}).items()
        }
        compared = tuple(Compared(**entry) for entry in read_json(folder / COMPARED, list, absent=[]))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_file(folder / COSTS, f"{type(error).__name__}: {error}") from error
    schema, genes = Schema.of(spec), tuple(costs.parts)
    known = {**schema.by_name}
    trials, front = (
        read_table(folder / f"{table}.csv", known, required)
        for table, required in (("trials", schema.trials), ("front", schema.front))
    )
    return GenerationRun(name, folder, spec, summary, trials, front, genes, costs, points, compared)


def _point(document: Mapping[str, Any]) -> MeasuredPoint:
    figures = document.get("figures")
    return MeasuredPoint(
        float(document["latency_ms"]),
        Footprint.from_json(document),
        None if figures is None else PictureFigures.from_json(figures),
    )
