"""Refining a bit configuration by learning: a point of a run, or one of a file, without labels."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.search.export.export import chosen_point
from bitfront.search.export.folder import BIT_CONFIG
from bitfront.search.export.selection import KNEE, Choice
from bitfront.search.runs.folder import RunFolder
from bitfront.search.runs.names import plain_name
from bitfront.search.runs.reader import evaluation_of
from bitfront.search.runs.refined import file_of, unfinished_of
from bitfront.search.runs.refined_table import write_refined_table
from bitfront.search.runs.refinement import Refinement
from bitfront.search.session.refine_checks import (
    check_alone,
    check_folder,
    check_plain,
    check_point,
    check_scheme,
    further_data,
    made,
    place_in,
    unfinished_point,
)
from bitfront.search.session.refine_request import RefinePlace, RefineRequest
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import check_same, spec_and_config
from bitfront.spaces import BitConfig, UserError
from bitfront.spaces.schemes import AUTO

if TYPE_CHECKING:
    from bitfront.search.runs.reader import RecordedRun
    from bitfront.search.session.refine_work import Outcome


def refine_run(
    run: RecordedRun,
    pick: Choice | None = None,
    *,
    images: int | None = None,
    refine_data: str | Path | None = None,
    learning: RefinementSpec | None = None,
    resume: bool = False,
    force: bool = False,
    checkpoint: str | Path | None = None,
    data: str | Path | None = None,
    calibration_data: str | Path | None = None,
    test_data: str | Path | None = None,
    class_map: str | Path | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Refinement:
    """Refines a point of a run's front, and keeps it beside the point where that helped.

    Args:
        run: The run.
        pick: A point of its front: ``knee``, an objective such as ``top1``, weights by objective, or a trial
            number; None for the knee, or where ``resume`` is given the one that is unfinished.
        images: Images to learn from; None for all that neither steer nor report, at most
            :data:`~bitfront.search.session.refine_images.USUAL_IMAGES`.
        refine_data: Where further images come from than those that calibrate; their labels, if any, are not
            looked at. None for what the splits leave of the run's data.
        learning: How it is learned; None for the defaults.
        resume: Whether to go on with a refinement that was interrupted or killed, with its settings; it ends
            in the same result.
        force: Whether to begin again where one is unfinished, and to replace one that there is.
        checkpoint: The weights of the run, where they have moved.
        data: The data of the run, where they have moved.
        calibration_data: Its calibration images, where they were apart and have moved.
        test_data: Its test images, where they were apart and have moved.
        class_map: Its class map, where that has moved.
        progress: Is told of the steps.

    Returns:
        What it was worth before and after; ``helped`` says whether it was kept.

    Raises:
        UserError: There is no such point, it is refined already or cannot be refined, or there are too few
            images.
        BitfrontError: The learning failed.
    """
    spec = evaluation_of(run)
    check_scheme(spec.scheme, f"run {run.name}")
    moved = {"data": data, "calibration_data": calibration_data, "test_data": test_data}
    moved |= {"checkpoint": checkpoint, "class_map": class_map}
    folder = RunFolder(run.path)
    with folder.lock(), folder.log_file():
        if resume:
            check_alone(images, refine_data, learning)
            digest = unfinished_point(run) if pick is None else chosen_point(run, pick).config.digest
            place = _place(run, digest)
            request = place.request()
        else:
            chosen = chosen_point(run, KNEE if pick is None else pick)
            place, trial = _place(run, chosen.config.digest), int(chosen.provenance["trial"])
            check_plain(chosen.config, f"trial {trial}")
            if not force:
                check_point(run, place, trial)
            settled, metric = _settled(learning), run.quality.name
            further = further_data(refine_data)
            request = RefineRequest(spec, chosen.config, settled, images, further, trial, metric)
            place.begin(request)
        request = dataclasses.replace(request, evaluation=request.evaluation.moved(**moved))
        outcome = _carried_out(request, place, reporter_of(progress), new_data=False)
        if not outcome.why:
            _shown_beside(run, reporter_of(progress))
    return _found(request, place, outcome, run.name)


def refine(
    spec: EvaluationSpec | None = None,
    config: BitConfig | str | Path | None = None,
    output: str | Path | None = None,
    *,
    images: int | None = None,
    refine_data: str | Path | None = None,
    learning: RefinementSpec | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Reporter | ProgressCallback | None = None,
) -> Refinement:
    """Refines a bit configuration of no run, and writes a folder where that helped.

    The folder has ``refined.safetensors``, what was learned; ``refined.json``, what it brought; and
    ``bit-config.json``, by which :func:`evaluate` and others find it.

    Args:
        spec: Model, data and quantization; None for what the file of the configuration was found under.
        config: The configuration, or its file; None where one is resumed.
        output: The folder; None for one of model and configuration.
        images: As of :func:`refine_run`, and so the others.
        refine_data: Where further images come from.
        learning: How it is learned.
        resume: Whether to go on with the refinement in ``output``.
        force: Whether the folder may hold files already.
        progress: Is told of the steps.

    Raises:
        UserError: The configuration, the model or the data cannot be used, or the folder is taken.
        BitfrontError: The learning failed.
    """
    if resume:
        check_alone(images, refine_data, learning, spec, config)
        if output is None:
            raise UserError("a refinement is resumed by its folder: name it with --output")
        place = place_in(Path(output))
        request = place.request()
    else:
        request = _requested(spec, config, images, refine_data, learning)
        folder = Path(output) if output else default_folder(request.config)
        place = place_in(folder)
        if not force:
            check_folder(folder, place)
        made(folder)
        place.begin(request)
    outcome = _carried_out(request, place, reporter_of(progress), new_data=True)
    if outcome.why:
        with suppress(OSError):  # there are other files in it
            place.file.parent.rmdir()
    else:
        _write_bit_config(request, place, outcome)
    return _found(request, place, outcome, None)


def _shown_beside(run: RecordedRun, reporter: Reporter) -> None:
    """Writes the table of refined points, and draws the pictures of the run again."""
    from bitfront.search.reports.plots.run_plots import write_plots

    found = type(run).read(run.path.parent, run.name)
    write_refined_table(found)
    with reporter.stage("drawing plots"):
        write_plots(found)


def default_folder(config: BitConfig) -> Path:
    """The folder of a refinement that none was named for."""
    return Path(f"{plain_name(config.model.rpartition('/')[2])}-{config.digest}-refined")


def _place(run: RecordedRun, digest: str) -> RefinePlace:
    return RefinePlace(file_of(run.path, digest), unfinished_of(run.path, digest))


def _requested(
    spec: EvaluationSpec | None,
    config: BitConfig | str | Path | None,
    images: int | None,
    refine_data: str | Path | None,
    learning: RefinementSpec | None,
) -> RefineRequest:
    if config is None:
        raise UserError("name what is to be refined: a point of a run with --pick, or --config FILE")
    spec, found = spec_and_config(spec, Path(config) if isinstance(config, str) else config)
    assert isinstance(found, BitConfig), "a path is no uniform widths"
    spec = dataclasses.replace(
        spec, scheme=found.scheme if spec.scheme == AUTO else spec.scheme, device="cpu"
    )
    check_same("the bit config", found, spec)
    check_scheme(spec.scheme, "the bit config")
    check_plain(found, "the bit config")
    if spec.refinement is not None:
        raise UserError(
            f"the bit config is of a model that was refined ({spec.refinement}): give the one that it was "
            "before"
        )
    metric = task_named(spec.task).primary
    settled = _settled(learning)
    return RefineRequest(
        spec.at_absolute_places(), found, settled, images, further_data(refine_data), None, metric
    )


def _settled(learning: RefinementSpec | None) -> RefinementSpec:
    """The settings with the number of threads, by which a resumed refinement comes to the same result."""
    from bitfront.evaluators.context.machine import available_cpus

    found = learning or RefinementSpec()
    found.check()
    return dataclasses.replace(found, threads=found.threads or available_cpus())


def _carried_out(request: RefineRequest, place: RefinePlace, reporter: Reporter, new_data: bool) -> Outcome:
    from bitfront.search.session.refine_work import RefineWork

    try:
        return RefineWork(request, place, reporter, reporter.note if new_data else None).run()
    except UserError:
        if not any(place.state.glob("*.safetensors")):  # nothing was learned that could be gone on with
            place.clear()
        raise


def _found(request: RefineRequest, place: RefinePlace, outcome: Outcome, run: str | None) -> Refinement:
    kept = not outcome.why
    return Refinement(
        run=run,
        trial=request.trial,
        config=request.config,
        path=place.file if kept else None,
        bit_config=place.file.with_name(BIT_CONFIG) if kept and run is None else None,
        point=outcome.point,
        metric=request.metric,
        task=request.evaluation.task,
        why=outcome.why,
    )


def _write_bit_config(request: RefineRequest, place: RefinePlace, outcome: Outcome) -> None:
    """The bit config of a refinement of no run, with what it is worth and where what was learned is."""
    spec = dataclasses.replace(outcome.spec, refinement=str(place.file.resolve()))
    after, tested = outcome.point.search.after.values, outcome.point.test.after.values
    measured = {**after, **{f"test_{name}": value for name, value in tested.items()}}
    provenance = {"bitfront": outcome.point.bitfront, "evaluation": spec.to_json()}
    text = json.dumps(request.config.to_json(measured, provenance), indent=2, allow_nan=False)
    write_atomically(place.file.with_name(BIT_CONFIG), text + "\n")
