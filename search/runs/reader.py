"""Reading a run folder: what was asked, every trial, the front, reference models and the summary."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.tasks.metric import Metric
from bitfront.search.problem.limits import Limit
from bitfront.search.problem.objectives import default_objectives
from bitfront.search.problem.references import FLOAT_NAME, Reference
from bitfront.search.problem.spec import PACKED
from bitfront.search.problem.trial import failures_by_reason
from bitfront.search.runs.columns import GeneColumn, Schema, gene_columns, gene_columns_named
from bitfront.search.runs.files import (
    SPEC,
    damaged_file,
    is_generation,
    read_json,
    read_spec_document,
    read_table,
)
from bitfront.search.runs.folder import SPACE, read_space
from bitfront.search.runs.listing import unknown_run
from bitfront.search.runs.names import checked_name, plain_name
from bitfront.search.runs.refined import RefinedPoint, refined_points
from bitfront.search.runs.right_images import Split, read_right_images
from bitfront.search.runs.summary import read_summary
from bitfront.spaces import Choices, FormatName, UserError, parse_formats


@dataclass(frozen=True)
class Prices:
    """That a run's latencies are of another source than it was searched with.

    Attributes:
        asked: The source as it was named, such as ``table:phone.csv``.
        batch: Images of the batch that latencies are for.
        machine: What ran it, in words; empty where nothing did or it is not known.
        notes: What a reader must know of them, a sentence each.
        threads: Of the inference that latencies are for.
    """

    asked: str
    batch: int
    machine: str
    notes: tuple[str, ...]
    threads: int = 1

    @property
    def words(self) -> tuple[str, ...]:
        """The options that ask for them."""
        batch = ("--latency-batch", str(self.batch)) if self.batch != 1 else ()
        threads = ("--latency-threads", str(self.threads)) if self.threads != 1 else ()
        return ("--latency", self.asked, *batch, *threads)

    @property
    def label(self) -> str:
        """A part of names of files, such as ``table_phone``."""
        kind, _, rest = self.asked.partition(":")
        batch = f"-b{self.batch}" if self.batch != 1 else ""
        threads = f"-t{self.threads}" if self.threads != 1 else ""
        return f"{plain_name(f'{kind}_{Path(rest).stem}' if rest else kind)}{batch}{threads}"


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """What a run folder holds.

    Attributes:
        name: The run's name.
        path: Its folder.
        spec: ``spec.json``, with the files of the run folder by absolute paths.
        trials: ``trials.csv``, one row per trial; results are NaN for rejected and failed trials.
        front: ``front.csv``, one row per front point.
        references: ``references.json``; empty while the run is being prepared.
        limits: The limits in force, from ``summary.json``.
        summary: ``summary.json``; empty while it does not exist.
        genes: The gene columns of both tables, in genome order.
        settled: Formats of the genes that were not searched, by name.
        refined: What ``bitfront refine`` made of trials, by trial.
        prices: Whose latencies these are where they are not those of the search; see
            :func:`bitfront.search.runs.prices.priced`.
        narrowed: Limits that the front was narrowed to after the search; see
            :func:`bitfront.search.export.limited_front.narrowed`.
    """

    name: str
    path: Path
    spec: dict[str, Any]
    trials: pd.DataFrame
    front: pd.DataFrame
    references: tuple[Reference, ...]
    limits: tuple[Limit, ...]
    summary: dict[str, Any]
    genes: tuple[GeneColumn, ...]
    settled: Mapping[str, FormatName] = field(default_factory=dict)
    narrowed: tuple[Limit, ...] = ()
    refined: tuple[RefinedPoint, ...] = ()
    prices: Prices | None = None

    @classmethod
    def read(cls, root: Path, name: str) -> Self:
        """Reads the run ``name`` in the folder ``root``.

        Raises:
            UserError: The name is not one, there is no such run (the nearest names are offered), or a file of
                it is absent or damaged (it is named).
        """
        folder = root / checked_name(name)
        if not (folder / SPEC).is_file():
            raise unknown_run(root, name)
        if is_generation(folder):
            raise UserError(
                f"run {name} is of task generation, which this is not for: see it with "
                f"`bitfront front {name}`, or with plot, tables and recommend"
            )
        spec, summary = read_spec_document(folder), read_summary(folder)
        schema = Schema.of(spec)
        genes = _read_genes(folder, schema)
        names = [gene.name for gene in genes]
        trials = read_table(folder / "trials.csv", schema.by_name, schema.trials, names)
        front = read_table(folder / "front.csv", schema.by_name, schema.front, names)
        return cls(
            name,
            folder,
            spec,
            trials,
            _with_measured(front, trials, schema),
            _read_references(folder / "references.json"),
            _read_limits(folder / "summary.json", summary),
            summary,
            genes,
            _read_settled(folder),
            refined=refined_points(folder),
        )

    @property
    def title(self) -> str:
        """The run's name, and by which prices it stands where these are not its own."""
        return self.name if self.prices is None else f"{self.name} by {self.prices.asked}"

    @property
    def evaluation(self) -> dict[str, Any]:
        """The ``evaluation`` part of the spec."""
        return dict(self.spec.get("evaluation") or {})

    @property
    def choices(self) -> Choices:
        """The formats that each kind could take; none where the run does not say."""
        known = self.evaluation
        return parse_formats(known.get("formats") or (), map(int, known.get("widths") or ()))

    @property
    def schema(self) -> Schema:
        """The run's task, and the columns of its tables."""
        return Schema.of(self.spec)

    @property
    def quality(self) -> Metric:
        """The metric that the front is drawn and judged by: the first objective that is no cost, if any."""
        return self.schema.quality

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the run's objectives, such as ``("top1", "latency", "size")``."""
        return tuple(self.spec.get("objectives") or default_objectives(self.schema.task))

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
    def latency_threads(self) -> int:
        """Threads of the inference that ``latency_ms`` is for; the first versions timed on one alone."""
        threads = self.summary.get("latency_threads")
        return threads if isinstance(threads, int) else 1

    @property
    def size_of(self) -> str:
        """The format of the files whose sizes ``size_bytes`` has, such as ``packed``."""
        return str(self.spec.get("size_of") or PACKED)

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Every error that ended an evaluation, with the numbers of its trials."""
        failed = self.trials[self.trials["state"] == "failed"]
        errors = failed["error"] if "error" in failed.columns else [""] * len(failed)
        reasons = (error or "no reason was recorded" for error in errors)
        return failures_by_reason(zip(map(int, failed["trial"]), reasons, strict=True))

    def right_images(self, split: Split) -> dict[str, NDArray[np.bool_]]:
        """Whether each image of a split is decided right, bool ``[images]``, by digest or reference's name.

        Empty for runs of earlier versions. The test split is known of front points and references alone.

        Raises:
            UserError: The file is damaged.
        """
        return read_right_images(self.path, split)

    @property
    def refined_front(self) -> dict[int, RefinedPoint]:
        """The refined points by the trials of the front that they were."""
        digests = dict(zip(self.front["digest"], self.front["trial"].astype(int), strict=True))
        return {digests[point.digest]: point for point in self.refined if point.digest in digests}

    @property
    def float_reference(self) -> Reference | None:
        """The float model, where it has been measured."""
        return next((r for r in self.references if r.name == FLOAT_NAME), None)


def _with_measured(front: pd.DataFrame, trials: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """A front with the columns that earlier versions wrote for trials alone, or not at all."""
    for name in schema.metric_columns:
        if name not in front.columns:
            known = trials.set_index("trial").get(name)
            front = front.assign(**{name: math.nan if known is None else front["trial"].map(known)})
    return front


def _read_genes(folder: Path, schema: Schema) -> tuple[GeneColumn, ...]:
    if (folder / SPACE).exists():
        return gene_columns(read_space(folder))
    return gene_columns_named(read_table(folder / "front.csv", schema.by_name, schema.front).columns)


def _read_settled(folder: Path) -> dict[str, FormatName]:
    """By name, formats of the genes of kinds that were held and of those that were kept."""
    if not (folder / SPACE).exists():
        return {}
    space = read_space(folder)
    held = {
        f"encoder{encoder.index:02d}.{kind}": value
        for encoder in space.encoders
        for kind, value in space.held.items()
    }
    return {**held, **space.kept}


def _read_references(path: Path) -> tuple[Reference, ...]:
    try:
        return tuple(Reference.from_json(entry) for entry in read_json(path, list, absent=[]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error


def _read_limits(path: Path, summary: Mapping[str, Any]) -> tuple[Limit, ...]:
    try:
        return tuple(Limit.from_json(entry) for entry in summary.get("limits") or ())
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_file(path, f"limits: {type(error).__name__}: {error}") from error


def evaluation_of(run: RecordedRun) -> EvaluationSpec:
    """What the run evaluated, on this machine's processor.

    Raises:
        UserError: The run does not say, or is of a version that knew no recipes.
    """
    if "recipe" not in run.evaluation:
        raise UserError(
            f"run {run.name} was searched by an earlier version, which prepared models in another way: "
            "search again"
        )
    try:
        return dataclasses.replace(EvaluationSpec.from_json(run.evaluation), device="cpu")
    except (KeyError, TypeError) as error:
        raise damaged_file(run.path / SPEC, error) from error
