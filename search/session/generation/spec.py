"""The spec of a search over formats: the pipeline, its pictures, formats, limits and budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.generation.digits_dit import NAME
from bitfront.evaluators.generation.features import AUTO
from bitfront.evaluators.generation.jobs import SEEDS
from bitfront.evaluators.tasks.generation.task import GENERATION
from bitfront.search.problem.limits import AskedLimit, read_bounds, read_limits
from bitfront.search.problem.objectives import USUAL_COSTS, Objective, objective_named
from bitfront.search.problem.spec import bitfront_version
from bitfront.search.samplers.known_scores import SPECTRAL
from bitfront.search.samplers.registry import scores_of
from bitfront.spaces import UserError
from bitfront.spaces.part_formats import USUAL_FORMATS, parse_formats
from bitfront.spaces.quantities import parse_duration

VERSION = 1
EXTENDABLE = ("evaluations", "time_budget")
_LISTS = ("prompts", "classes", "seeds", "formats", "objectives", "min_metric", "max_metric")
# In the part of the document that every run has.
_DESCRIBED = {"task": GENERATION.name}


@dataclass(frozen=True)
class GenerationSpec:
    """The settings of one search over formats.

    Attributes:
        pipeline: ``digits_dit``, a file of its weights, a folder, or a name on the hub.
        prompts: Texts, for pipelines that take them.
        classes: Numbers of classes, for those that take them; none for the first ten.
        photographs: Folder of images, for an autoencoder alone; None for none.
        photograph_count: How many of them are compared; None for all but those that calibrate.
        side: Pixels of a side of what is cut out of a photograph.
        seeds: Of the pictures of each prompt or class.
        steps: Of the scheduler; None for the pipeline's own.
        guidance: Scale of guidance; None for the pipeline's own, 1 for none.
        search_pictures: Pictures that candidates are compared by; None for all. The finished front is
            compared by all.
        features: Classifier whose features FID and KID take: ``auto``, ``none``, ``MODEL`` or ``MODEL:FILE``.
        lpips: AlexNet's weights for LPIPS: ``auto``, ``none`` or a file.
        formats: Names of formats, the narrowest first; a text such as ``fp32,int8`` is read as such.
        whole_components: Whether a component is one gene, and no block of it has its own format.
        objectives: ``psnr``, ``ssim``, ``latency`` and ``size``, or some of them.
        max_latency: Limit as given, such as ``12ms`` or ``0.9x`` of the float pipeline; None for none.
        max_size: The same of sizes.
        min_metric: Lowest values of metrics, such as ``psnr=30``.
        max_metric: Highest values of metrics of which smaller ones are better, such as ``mse=0.001``.
        latency_batch: Pictures made at a time where times are measured; None for as many as 4,096 pixels.
        threads: That compute; with one, equal seeds give equal pictures to the bit.
        sampler: Name of the sampler.
        evaluations: Budget of evaluated assignments, those that every search begins with among them; None
            for 40 more than these.
        time_budget: Budget of wall clock in seconds; a text such as ``10m`` is read as such. None for none.
        population: Candidates proposed at a time; None for what suits the sampler.
        seed: Of the sampler.
        bitfront: Version of bitfront that wrote the spec.

    Raises:
        UserError: A text cannot be read.
    """

    pipeline: str = NAME
    prompts: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    photographs: str | None = None
    photograph_count: int | None = None
    side: int = 224
    seeds: tuple[int, ...] = SEEDS
    steps: int | None = None
    guidance: float | None = None
    search_pictures: int | None = None
    features: str = AUTO
    lpips: str = AUTO
    formats: tuple[str, ...] = USUAL_FORMATS
    whole_components: bool = False
    objectives: tuple[str, ...] = ("psnr", "latency", "size")
    max_latency: str | None = None
    max_size: str | None = None
    min_metric: tuple[str, ...] = ()
    max_metric: tuple[str, ...] = ()
    latency_batch: int | None = None
    threads: int = 1
    sampler: str = "surrogate-nsga2"
    evaluations: int | None = None
    time_budget: float | None = None
    population: int | None = None
    seed: int = 0
    bitfront: str = dataclasses.field(default_factory=bitfront_version)

    def __post_init__(self) -> None:
        """Reads what was given as text, and makes places absolute."""
        for name in _LISTS:
            given: Any = getattr(self, name)
            parts = given.split(",") if isinstance(given, str) else given
            object.__setattr__(self, name, tuple(parts))
        object.__setattr__(self, "formats", parse_formats(self.formats))
        budget: object = self.time_budget
        if isinstance(budget, str):
            object.__setattr__(self, "time_budget", parse_duration(budget))
        for name in ("pipeline", "photographs", "lpips"):
            place = getattr(self, name)
            if place is not None and Path(place).exists():
                object.__setattr__(self, name, str(Path(place).resolve()))

    @property
    def parsed_objectives(self) -> tuple[Objective, ...]:
        """The axes of the front.

        Raises:
            UserError: One is unknown or repeated.
        """
        known = (*(metric.name for metric in GENERATION.metrics), *USUAL_COSTS)
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UserError(f"--objectives: give each once, among {', '.join(known)}")
        unknown = [name for name in self.objectives if name not in known]
        if unknown:
            raise UserError(
                f"unknown objective {unknown[0]!r} of task generation: choose among {', '.join(known)}"
            )
        return tuple(objective_named(name, GENERATION) for name in self.objectives)

    @property
    def limits(self) -> tuple[AskedLimit, ...]:
        """The limits that are asked for.

        Raises:
            UserError: One cannot be read or met.
        """
        least, most = read_bounds("--min", self.min_metric), read_bounds("--max", self.max_metric)
        costs = {"latency": self.max_latency, "size": self.max_size}
        return read_limits(costs, least, most, {}, GENERATION)

    def check(self) -> None:
        """Refuses what can be seen to be impossible before anything is loaded.

        Raises:
            UserError: A number is too small, or an objective or limit cannot be read.
        """
        numbers = (
            "photograph_count",
            "side",
            "steps",
            "search_pictures",
            "latency_batch",
            "threads",
            "evaluations",
        )
        for name in numbers:
            number = getattr(self, name)
            if number is not None and number < 1:
                raise UserError(f"{name.replace('_', '-')} {number} is too small: give at least 1")
        if self.population is not None and self.population < 2:
            raise UserError(f"--population {self.population} is too small: give at least 2")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError("--seeds: give at least one, each once, such as 42,43,44")
        if SPECTRAL in scores_of([self.sampler]):
            raise UserError(
                f"--sampler {self.sampler} goes by sensitivities of a classifier's layers: take another one "
                "for a pipeline that makes pictures, such as surrogate-nsga2"
            )
        self.parsed_objectives  # noqa: B018 - reading them raises
        self.limits  # noqa: B018

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field, and what every run says of itself."""
        fields = dataclasses.asdict(self)
        data = self.photographs or (f"{len(self.prompts)} prompts" if self.prompts else "classes")
        described = {**_DESCRIBED, "model": self.pipeline, "data": data, "metrics": []}
        return {"version": VERSION, **fields, "evaluation": described}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> GenerationSpec:
        """The inverse of :meth:`to_json`.

        Raises:
            UserError: The document was written in another version of this form, or is none at all.
        """
        fields = {name: value for name, value in document.items() if name not in ("version", "evaluation")}
        if document.get("version") != VERSION:
            raise UserError(
                f"the run spec has version {document.get('version')!r}, and this bitfront reads {VERSION}: "
                "start a new run"
            )
        try:
            return cls(**fields)
        except TypeError as error:
            raise UserError(f"the run spec is damaged ({error}): start a new run") from error

    def check_resumed_as(self, other: GenerationSpec, name: str) -> None:
        """Raises :class:`UserError` where ``other`` cannot go on with the run ``name`` of this spec."""
        extended = dataclasses.replace(self, **{field: getattr(other, field) for field in EXTENDABLE})
        if extended != other:
            mine, theirs = extended.to_json(), other.to_json()
            changed = ", ".join(field for field in mine if mine[field] != theirs[field])
            raise UserError(
                f"run {name} was made with other settings ({changed}): only {', '.join(EXTENDABLE)} "
                "may change"
            )
