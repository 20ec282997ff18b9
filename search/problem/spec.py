"""The run spec: every setting that decides what a search finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as installed_version
from typing import Any

from bitfront.evaluators.context.spec import WHERE_SET, EvaluationSpec
from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.limits import TOP1, AskedLimit, read_bounds, read_limits
from bitfront.search.problem.objectives import COSTS, default_objectives, parse_objectives
from bitfront.spaces import (
    GRANULARITIES,
    FormatName,
    Granularity,
    Kind,
    StructuralConstraint,
    UserError,
    check_choices,
    check_fixed,
    mixed_only,
    parse_fixed,
)
from bitfront.spaces.fields import check_fields
from bitfront.spaces.quantities import parse_duration
from bitfront.spaces.schemes import AUTO, DEPLOY

# 2: quantization by recipe, no longer by weight ranges and rounding. 3: pipelined and screened evaluations,
# kinds held, a plateau.
SPEC_VERSION = 3
# Probability with which limits hold unless another one is asked for.
CONFIDENCE = 0.8
# Formats whose files can be bounded in size before they are written.
PACKED = "packed"
SIZED = (PACKED, "onnx", "openvino")
EXTENDABLE = ("evaluations", "time_budget", "plateau")
# Written where they are set alone: specs of earlier versions have none of them.
_SWITCHES = (
    "all_genes",
    "allow_slower",
    "allow_larger",
    "min_metric",
    "max_metric",
    "begun_from",
    "size_of",
    "latency_threads",
    "stage_drop",
    "max_energy",
    "energy",
)


def bitfront_version() -> str:
    """The installed version of bitfront."""
    return installed_version("bitfront")


@dataclass(frozen=True)
class RunSpec:
    """The settings of one search; equal specs on equal latency tables find equal fronts.

    Attributes:
        evaluation: What is evaluated, on which data, and how it is quantized.
        space: Granularity of the search space.
        hold: Kinds that are not searched with their widths, such as ``A8T8``; None for none.
        all_genes: Whether genes are searched, too, whose narrower widths save nothing.
        objectives: ``latency``, ``size`` and metrics of the task; a text such as ``top1,size`` is read as
            such. Empty for the task's own: top-1, latency and size for classification.
        max_latency: Limit as given, such as ``12ms`` or ``0.9x`` of the float model; None for none.
        max_size: Limit as given, such as ``4MB`` or ``0.6x`` of the float model; None for none.
        max_energy: Limit as given, such as ``20mJ`` or ``0.6x`` of the float model; None for none.
        min_top1: Lowest top-1 on the search split, in percent; None for none.
        min_metric: Lowest values of metrics on the search split, such as ``macro_f1=70``.
        max_metric: The same of metrics of which smaller values are better, such as ``loss=0.5``.
        max_drop: By how much metrics may be worse than the float model's, such as ``macro_f1=1``; a number
            is that of the task's first metric, such as top-1 in points. None for none.
        confidence: Probability with which limits on the share of images decided right are to hold on images
            that are not searched with, from 0.5 to below 1.
        latency: Latency source, such as ``measured:torch``, ``table:FILE`` or ``model:bops``; ``auto`` for a
            runtime of this machine that suits the scheme.
        latency_batch: Images of the batch that latencies are for; None for the table's, or 1.
        latency_threads: Threads of the inference that latencies are for; None for the table's, or 1.
        sampler: Name of the sampler.
        evaluations: Budget of distinct evaluated configurations; None for what suits the sampler.
        time_budget: Budget of wall clock in seconds; a text such as ``10m`` is read as such. None for none.
        plateau: Evaluations without growth of the hypervolume that end the search; None for any number.
        population: Candidates proposed at a time; None for what suits the sampler.
        seed: Seed of the sampler.
        allow_uniform: Whether uniform assignments are allowed (constraint 2 switched off).
        allow_slower: Whether models slower than the float model are allowed (constraint 3 switched off).
        allow_larger: Whether models larger than at 8 bits are allowed (constraint 4 switched off).
        size_of: Format of the files whose size is traded off and limited: ``packed``, ``onnx`` or
            ``openvino``; empty for that of the latency source's runtime where a size is limited, or packed.
        stage_drop: Points of the metric that counts which a stage of sampler ``progressive`` may cost before
            its most sensitive layers go back; None for what a limit allows, or half a point.
        begun_from: Name of the run whose evaluations the search begins with; None where there is none.
        energy: Profile that energy is computed by, such as ``model:horowitz45``; empty for that of latency.
        bitfront: Version of bitfront that wrote the spec.

    Raises:
        UserError: A text cannot be read, or a kind is held that the space cannot hold.
    """

    evaluation: EvaluationSpec = dataclasses.field(default_factory=EvaluationSpec)
    space: Granularity = "encoder-kind"
    hold: str | None = None
    all_genes: bool = False
    objectives: tuple[str, ...] = ()
    max_latency: str | None = None
    max_size: str | None = None
    min_top1: float | None = None
    min_metric: tuple[str, ...] = ()
    max_metric: tuple[str, ...] = ()
    max_drop: float | str | tuple[str, ...] | None = None
    confidence: float = CONFIDENCE
    latency: str = AUTO
    latency_batch: int | None = None
    sampler: str = "surrogate-nsga2"
    evaluations: int | None = None
    time_budget: float | None = None
    plateau: int | None = None
    population: int | None = None
    seed: int = 0
    allow_uniform: bool = False
    allow_slower: bool = False
    allow_larger: bool = False
    stage_drop: float | None = None
    begun_from: str | None = None
    size_of: str = ""
    max_energy: str | None = None
    energy: str = ""
    latency_threads: int | None = None
    bitfront: str = dataclasses.field(default_factory=bitfront_version)

    def __post_init__(self) -> None:
        """Reads what was given as text; what is traded off or limited is measured at every evaluation."""
        task = task_named(self.evaluation.task)
        asked = parse_objectives(self.objectives or default_objectives(task), task.name)
        object.__setattr__(self, "objectives", tuple(objective.name for objective in asked))
        for name in ("min_metric", "max_metric"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        drop: object = self.max_drop
        if isinstance(drop, str | list | tuple):
            drops = (drop,) if isinstance(drop, str) else tuple(drop)
            bounds = read_bounds("--max-drop", drops, task.primary)
            usual = list(bounds) == [task.primary]
            object.__setattr__(self, "max_drop", bounds[task.primary] if usual else drops or None)
        lowest, highest, dropped = self._bounds(task)
        bounded = (*lowest, *highest, *dropped)
        wanted = (*(objective.column for objective in asked if not objective.analytic), *bounded)
        metrics = dict.fromkeys((*self.evaluation.metrics, *wanted))
        further = tuple(name for name in metrics if name not in task.always)
        if further != self.evaluation.metrics:
            object.__setattr__(self, "evaluation", dataclasses.replace(self.evaluation, metrics=further))
        points = [value for name, value in dropped.items() if task.metric(name).unit == "%"]
        # A run of an earlier version keeps its images, of which it had fewer.
        if points and self.evaluation.tell_apart is not None:
            finest = dataclasses.replace(self.evaluation, tell_apart=max(0.0, float(min(points))))
            object.__setattr__(self, "evaluation", finest)
        budget: object = self.time_budget
        if isinstance(budget, str):
            object.__setattr__(self, "time_budget", parse_duration(budget))

    @cached_property
    def fixed(self) -> tuple[tuple[Kind, FormatName], ...]:
        """Kinds that are not searched, with their formats; :class:`UserError` where they cannot be read."""
        return () if self.hold is None else parse_fixed(self.hold)

    @cached_property
    def limits(self) -> tuple[AskedLimit, ...]:
        """The limits that are asked for; :class:`UserError` where one cannot be read or met by any model."""
        task = task_named(self.evaluation.task)
        most = {cost: getattr(self, f"max_{cost}") for cost in COSTS}
        return read_limits(most, *self._bounds(task), task)

    def _bounds(self, task: Task) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """Lowest and highest values, and drops, by metric."""
        least = read_bounds("--min", self.min_metric)
        if self.min_top1 is not None:
            if TOP1 in least:
                raise UserError(
                    f"--min-top1 {self.min_top1:g} and --min top1={least[TOP1]:g}: give one of them"
                )
            least = {TOP1: self.min_top1, **least}
        most = read_bounds("--max", self.max_metric)
        if isinstance(self.max_drop, int | float):
            return least, most, {task.primary: float(self.max_drop)}
        return least, most, read_bounds("--max-drop", self.max_drop or (), task.primary)

    @property
    def structural(self) -> tuple[StructuralConstraint, ...]:
        """Constraints on configurations alone: constraint 2 unless it is switched off."""
        return () if self.allow_uniform else mixed_only(self.evaluation.choices)

    def check(self) -> None:
        """Refuses what can be seen to be impossible before anything is loaded.

        Raises:
            UserError: The space is unknown, a number is too small, there is nothing to choose from, a kind
                cannot be fixed at its format, or a limit cannot be read.
        """
        choices = self.evaluation.choices
        if self.space not in GRANULARITIES:
            raise UserError(f"unknown space {self.space!r}: choose one of {', '.join(GRANULARITIES)}")
        for option, number in (("--evaluations", self.evaluations), ("--plateau", self.plateau)):
            if number is not None and number < 1:
                raise UserError(f"{option} {number} is too small: give at least 1")
        if self.population is not None and self.population < 2:
            raise UserError(f"--population {self.population} is too small: give at least 2")
        if self.stage_drop is not None and not 0.0 < self.stage_drop <= 100.0:
            raise UserError(f"--stage-drop {self.stage_drop:g} is no drop: give points above 0, up to 100")
        if not 0.5 <= self.confidence < 1.0:
            raise UserError(
                f"--confidence {self.confidence:g} cannot be used: give a probability from 0.5 to below 1, "
                "such as 0.8"
            )
        if self.size_of not in ("", *SIZED):
            raise UserError(f"unknown --size-of {self.size_of!r}: choose one of {', '.join(SIZED)}")
        if self.size_of not in ("", PACKED) and self.evaluation.scheme not in (DEPLOY, AUTO):
            raise UserError(
                f"--size-of {self.size_of} is for scheme {DEPLOY}, not {self.evaluation.scheme}: leave it "
                f"out, or give --scheme {DEPLOY}"
            )
        check_choices(choices, self.space)
        if self.evaluation.refinement is not None:
            raise UserError(
                f"{self.evaluation.refinement} refines one configuration, and a search is of many: "
                "leave it out, and refine a point of the front afterwards"
            )
        check_fixed(dict(self.fixed), choices, self.space)
        self.limits  # noqa: B018 - reading them raises

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field and the version of this form."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields = {name: value for name, value in fields.items() if value or name not in _SWITCHES}
        return {
            "version": SPEC_VERSION,
            **fields,
            "evaluation": self.evaluation.to_json(),
            "objectives": list(self.objectives),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RunSpec:
        """The inverse of :meth:`to_json`.

        Raises:
            UserError: The document was written in another version of this form, or is none at all.
        """
        fields = dict(document)
        found = fields.pop("version", None)
        if found != SPEC_VERSION:
            raise UserError(
                f"the run spec has version {found!r}, this bitfront reads version {SPEC_VERSION}: "
                f"open the run with bitfront {fields.get('bitfront', 'of that time')}, or start a new run"
            )
        try:
            evaluation = fields["evaluation"]
            for name in ("model", "widths", "recipe"):  # no default may stand in for what was searched
                evaluation[name]
            fields["evaluation"] = EvaluationSpec.from_json(evaluation)
            check_fields(cls, fields)
            fields["objectives"] = tuple(fields["objectives"])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise UserError(f"the run spec is damaged ({error}): start a new run") from error

    def difference(self, other: RunSpec) -> list[str]:
        """Fields that differ, such as ``seed (0, not 1)``: this spec's value first."""
        mine, theirs = _flat(self), _flat(other)
        return [
            f"{name} ({_shown(mine[name])}, not {_shown(theirs[name])})"
            for name in mine
            if mine[name] != theirs[name]
        ]

    def extended(self, other: RunSpec) -> RunSpec:
        """This spec with the budgets of ``other``: a resumed run may go on for longer."""
        return dataclasses.replace(self, **{name: getattr(other, name) for name in EXTENDABLE})

    def check_resumed_as(self, other: RunSpec, name: str) -> None:
        """Raises :class:`UserError` where ``other`` cannot go on with the run ``name`` of this spec."""
        extended = self.extended(other)
        if extended != other:
            raise UserError(
                f"run {name} was made with other settings: {'; '.join(extended.difference(other))}; only "
                f"{', '.join(EXTENDABLE)} may change: repeat its settings, or start a new run with --run"
            )


def _flat(spec: RunSpec) -> dict[str, Any]:
    fields = {**{name: getattr(spec, name) for name in _SWITCHES}, **spec.to_json()}
    asked = spec.evaluation
    evaluation = {**{name: getattr(asked, name) for name in WHERE_SET}, **fields.pop("evaluation")}
    return {**evaluation, **{k: v for k, v in fields.items() if k != "seed"}, "search seed": spec.seed}


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
