"""The columns of trials.csv and front.csv: names, types and decimals, for the writer and for the reader."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from bitfront.evaluators.tasks.metric import DECIMALS, Metric
from bitfront.evaluators.tasks.quality import EXPECTED_DIFFERENCE
from bitfront.evaluators.tasks.registry import CLASSIFICATION, task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.objectives import COSTS, ESTIMATE, ESTIMATE_ERROR, FURTHER_COSTS
from bitfront.spaces import FORMATS, KINDS, Kind, SearchSpace

# The paired standard error, on the test split, of the difference to the float model in quality.
DIFFERENCE_ERROR = "test_difference_standard_error"
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


_COMMON = (Column("trial", decimals=0), Column("digest", "text"))
_COSTS = (
    Column("latency_ms"),
    Column("latency_source", "text"),
    Column("latency_measured_ms"),
    Column("size_bytes", decimals=0),
)
# Genes stand before these, violations behind them.
STATE = (Column("state", "text"), Column("feasible", "flag"))
_COUNTS = (Column("lost", decimals=0), Column("won", decimals=0))
ERROR = Column("error", "text")
# What the float model's probabilities expect of a trial (see ``evaluators/tasks/quality.py``).
EXPECTED = Column(EXPECTED_DIFFERENCE, decimals=DECIMALS)
# Behind all others of front.csv: whether a point is on the shortlist, and which listed trial stands for it.
# Of further costs that were asked for; behind the estimates in front.csv, behind the state in trials.csv.
FURTHER = tuple(Column(cost.column, decimals=cost.decimals) for cost in FURTHER_COSTS.values())
SHORTLIST = (Column("listed", "flag"), Column("stands_for", decimals=0))
_TEST = "test_"


@dataclass(frozen=True)
class Schema:
    """The columns of the tables of a run.

    Attributes:
        task: Whose metrics are measured.
        objectives: Names of the objectives.
        further: Metrics that are measured beside those that every evaluation has.
    """

    task: Task
    objectives: tuple[str, ...] = ()
    further: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Schema:
        """The columns of a run by its ``spec.json``; earlier versions knew classification alone.

        Raises:
            UserError: The run is of a task or has a metric that is not there.
        """
        evaluation = spec.get("evaluation") or {}
        task = task_named(str(evaluation.get("task", CLASSIFICATION)))
        further = tuple(map(str, evaluation.get("metrics") or ()))
        return cls(task, tuple(map(str, spec.get("objectives") or ())), further)

    @property
    def quality(self) -> Metric:
        """The metric that a front is drawn and judged by: its first objective that is no cost, if any."""
        named = [name for name in self.objectives if name not in COSTS]
        return self.task.metric(named[0] if named else self.task.primary)

    @property
    def leading(self) -> tuple[Column, ...]:
        """Columns before the genes; those of front.csv."""
        task = self.task
        traded = [name for name in self.objectives if name not in (*COSTS, task.primary)]
        return (
            *_COMMON,
            *map(self._column, (task.primary, task.loss)),
            *_COSTS,
            self._column(task.primary, _TEST),
            *(
                self._column(name, side)
                for name in traded
                for side in ((_TEST,) if name == task.loss else ("", _TEST))
            ),
        )

    @property
    def metric_columns(self) -> tuple[str, ...]:
        """Columns of front.csv that are metrics, those of the test split behind their own."""
        others = {column.name for column in (*_COMMON, *_COSTS)}
        names = [column.name for column in self.leading if column.name not in others]
        return tuple(sorted(names, key=lambda name: names.index(name.removeprefix(_TEST))))

    @property
    def measured(self) -> tuple[Column, ...]:
        """What else was measured of a trial; columns that runs of earlier versions may lack."""
        known = {column.name for column in self.leading}
        names = [metric.name for metric in self.task.measured(self.further) if metric.name not in known]
        return (Column("images", decimals=0), *map(self._column, names), *_COUNTS)

    @property
    def final(self) -> tuple[Column, ...]:
        """What else was measured on the test split: counts, and where they do not tell it, a paired error."""
        counts = (Column(f"{_TEST}lost", decimals=0), Column(f"{_TEST}won", decimals=0))
        return counts if self.quality.name == self.task.counted else (*counts, Column(DIFFERENCE_ERROR))

    @property
    def estimated(self) -> tuple[Column, ...]:
        """What the share of images decided right is on other images, and the standard error of that."""
        metric, ends = self.task.metric(self.task.counted), (ESTIMATE, ESTIMATE_ERROR)
        return tuple(Column(f"{metric.name}{end}", decimals=metric.decimals) for end in ends)

    @property
    def by_name(self) -> dict[str, Column]:
        """All columns but those of genes and violations."""
        own = (*self.measured, *self.final, *self.estimated)
        found = (*self.leading, *STATE, *own, ERROR, EXPECTED, *FURTHER, *SHORTLIST)
        return {column.name: column for column in found}

    @property
    def front(self) -> tuple[str, ...]:
        """Names of the columns that every front.csv has beside those of the genes.

        Earlier versions did not write the further metrics that were traded off.
        """
        return tuple(column.name for column in Schema(self.task).leading)

    @property
    def trials(self) -> tuple[str, ...]:
        """Names of the columns that every trials.csv has beside those of the genes."""
        return (*self.front, *(column.name for column in STATE))

    def _column(self, metric: str, side: str = "") -> Column:
        return Column(f"{side}{metric}", decimals=self.task.metric(metric).decimals)


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
    """Mean width of each kind over its genes, in bits of a stored value."""

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


def _bits(value: Any) -> float:
    return float(FORMATS[value].bits if isinstance(value, str) else math.nan if value is None else value)


def mean_bits(row: Mapping[str, Any], genes: Sequence[GeneColumn]) -> MeanBits:
    """Mean bits of one assignment, every gene counting once; NaN for a kind without genes."""

    def mean(kind: Kind) -> float:
        bits = [_bits(row[gene.name]) for gene in genes if gene.kind in (kind, None)]
        return sum(bits) / len(bits) if bits else float("nan")

    return MeanBits(*(mean(kind) for kind in KINDS))
