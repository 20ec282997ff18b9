"""What a search over formats begins with: the workbench of its pipeline, its space, costs and problem."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bitfront.evaluators.generation.autoencoder_pipeline import AutoencoderPipeline, photographs
from bitfront.evaluators.generation.costs import CostTable, GenerationCosts
from bitfront.evaluators.generation.features import feature_source
from bitfront.evaluators.generation.jobs import Job, jobs_of
from bitfront.evaluators.generation.loading import load_pipeline
from bitfront.evaluators.generation.lpips import perceptual_distance
from bitfront.evaluators.generation.pipeline import Pipeline
from bitfront.evaluators.generation.workbench import Workbench
from bitfront.evaluators.tasks.generation.task import GENERATION
from bitfront.search.problem.hypervolume import HypervolumeBox
from bitfront.search.problem.limits import check_achievable
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import FLOAT_NAME, Reference
from bitfront.search.session.generation.spec import GenerationSpec
from bitfront.spaces import UserError
from bitfront.spaces.part_formats import FLOAT, FormatSpace

if TYPE_CHECKING:
    from bitfront.spaces import SearchSpace

# Pictures on which ranges of activations are found, with seeds that no search compares by.
CALIBRATION_PICTURES, CALIBRATION_SEED = 4, 1_000_000
Conditions = Sequence[tuple[str, str | int]]


def load_workbench(spec: GenerationSpec) -> Workbench:
    """The workbench that a spec describes, before anything is converted.

    Raises:
        UserError: The pipeline cannot be loaded, or cannot make what is asked for.
    """
    pipeline = load_pipeline(spec.pipeline, spec.side)
    jobs, calibration = _jobs(spec, pipeline)
    if spec.whole_components:
        pipeline = _with_whole_components(pipeline)
    sampling = pipeline.sampling
    if spec.steps is not None:
        sampling = dataclasses.replace(sampling, steps=spec.steps)
    if spec.guidance is not None:
        sampling = dataclasses.replace(sampling, guidance=spec.guidance)
    features = feature_source(spec.features, pipeline.channels)
    perceptual = perceptual_distance(spec.lpips)
    return Workbench(pipeline, jobs, calibration, sampling, spec.formats, spec.threads, features, perceptual)


def _jobs(spec: GenerationSpec, pipeline: Pipeline) -> tuple[tuple[Job, ...], tuple[Job, ...]]:
    """The pictures that are compared, and those that calibrate."""
    if isinstance(pipeline, AutoencoderPipeline):
        if spec.photographs is None:
            pipeline.checked(())
        count = None if spec.photograph_count is None else spec.photograph_count + CALIBRATION_PICTURES
        found = photographs(Path(str(spec.photographs)), count)
        if len(found) <= CALIBRATION_PICTURES:
            raise UserError(
                f"{spec.photographs} has {len(found)} images: {CALIBRATION_PICTURES} calibrate, so give more"
            )
        return jobs_of(found[:-CALIBRATION_PICTURES], (0,)), jobs_of(found[-CALIBRATION_PICTURES:], (0,))
    asked: Conditions = [(text, text) for text in spec.prompts]
    asked = asked or [(f"class {number}", number) for number in spec.classes] or pipeline.conditions
    pipeline.checked(asked)
    seeds = [CALIBRATION_SEED + i for i in range(CALIBRATION_PICTURES)]
    calibration = list(jobs_of(asked, seeds))
    step = max(1, len(calibration) // CALIBRATION_PICTURES)
    return jobs_of(asked, spec.seeds), tuple(calibration[::step][:CALIBRATION_PICTURES])


def _with_whole_components(pipeline: Pipeline) -> Pipeline:
    """The same pipeline, whose components have no blocks."""
    found: Any = pipeline
    found.parts = tuple(dataclasses.replace(part, blocks=()) for part in pipeline.parts)
    return cast(Pipeline, found)


def space_of(bench: Workbench) -> FormatSpace:
    """The assignments of formats to the genes of a pipeline."""
    return FormatSpace(bench.pipeline.name, bench.components, bench.formats)


def problem_of(spec: GenerationSpec, space: FormatSpace, table: CostTable, pictures: int) -> SearchProblem:
    """The search problem: quality against the float pipeline, size, and time of a picture.

    Args:
        spec: Objectives and limits.
        space: Of the assignments.
        table: Their costs.
        pictures: That candidates are compared by.

    Raises:
        UserError: A limit is out of reach.
    """
    costs, objectives = GenerationCosts(table, space), spec.parsed_objectives
    base = float_reference(space, table, pictures)
    minima = {"latency_ms": costs.minimum_latency_ms(), "size_bytes": float(costs.minimum_size_bytes())}
    largest = float(max(costs.maximum_size_bytes(), base.size_bytes))
    limits = tuple(asked.against(base) for asked in spec.limits)
    check_achievable(limits, minima)
    slowest = sum(max(found.milliseconds.values()) for found in table.times.values()) + table.rest_ms
    spans = {
        "latency_ms": (minima["latency_ms"], max(slowest, minima["latency_ms"] * (1.0 + 1e-9) + 1e-9)),
        "size_bytes": (minima["size_bytes"], largest),
    }
    corners = []
    for objective in objectives:
        best, worst = objective.span(0) if objective.span else spans[objective.column]
        corners.append((-best, -worst) if objective.direction == "maximise" else (best, worst))
    box = HypervolumeBox(
        tuple(objective.name for objective in objectives),
        tuple(corner[0] for corner in corners),
        tuple(corner[1] for corner in corners),
    )
    # Engine, samplers and study ask a space for its genes, widths and genomes, and hand what it decodes on as
    # it is; of costs they ask for those of one configuration.
    return SearchProblem(
        cast("SearchSpace", space),
        objectives,
        (),
        limits,
        cast(Any, costs),
        box,
        GENERATION,
        (),
        images=pictures,
    )


def float_reference(space: FormatSpace, table: CostTable, pictures: int) -> Reference:
    """The float pipeline, which limits refer to."""
    formats = dict.fromkeys(space.gene_names, FLOAT)
    ideal = {metric.name: metric.ideal for metric in GENERATION.metrics}
    size, latency = table.size_bytes(formats), table.latency_ms(formats)
    return Reference(FLOAT_NAME, latency, float(size), ideal, images=pictures)


def first_genomes(space: FormatSpace) -> list[tuple[int, ...]]:
    """What every search begins with: each format everywhere, and in each component alone."""
    widest = space.widths[-1]
    uniform = [space.uniform(name) for name in space.widths]
    alone = [
        space.uniform(name, component, widest)
        for component, _ in space.components
        for name in space.widths[:-1]
    ]
    return list(dict.fromkeys((*uniform, *alone)))


def timed_together(spec: GenerationSpec, pixels: int, jobs: int) -> int:
    """Pictures that are made at a time where times are measured."""
    asked = spec.latency_batch or math.ceil(4096 / max(1, pixels))
    return min(asked, jobs)
