"""Specs of evaluations, runs and workers from the arguments of a command."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from bitfront.evaluators.context.spec import PLACES, EvaluationSpec, absolute_place
from bitfront.evaluators.data.image_options import OPTIONS
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingRecipe, TrainingSpec
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.names import checked_name
from bitfront.search.session.specs import MACHINE_FIELDS
from bitfront.search.session.worker_pool import WorkerOptions
from bitfront.spaces import UserError, parse_bits


def _fields(kind: type, *without: str) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind) if field.name not in without)


# Options that are fields of these under the same name.
EVALUATION_OPTIONS = _fields(EvaluationSpec, "widths", "formats", "first_images", "tell_apart", "refinement")
# Of a training, whose seed and threads are its own.
_TRAINED_OPTIONS = (
    *("model", "checkpoint", "pretrained", "data", "calibration_data", "test_data", "columns", "device"),
    *("class_order", "class_map", "task", "metrics", "calibration_images", "search_images", "test_images"),
    *OPTIONS,
)
RUN_OPTIONS = _fields(RunSpec, "evaluation", "latency_batch", "begun_from", "bitfront")
# They decide nothing of what is found, so that they may be given to a resumed run.
WORKER_OPTIONS = _fields(WorkerOptions)


def evaluation_spec(
    args: argparse.Namespace, widths: tuple[int, ...], formats: Sequence[str] = ()
) -> EvaluationSpec:
    """The evaluation spec that arguments describe, at the given widths and formats."""
    own = {name: _value(args, name) for name in EVALUATION_OPTIONS}
    return EvaluationSpec(**own, widths=widths, formats=tuple(formats))


def training_spec(args: argparse.Namespace) -> TrainingSpec:
    """The training that arguments describe.

    Raises:
        UserError: A part of a teacher was given without the teacher.
    """
    evaluation = EvaluationSpec(
        **{name: _value(args, name) for name in _TRAINED_OPTIONS}, seed=args.split_seed
    )
    recipe = {name: getattr(args, name) for name in _fields(TrainingRecipe)}
    recipe = {name: value for name, value in recipe.items() if name != "epochs" or value is not None}
    for name in ("teacher_checkpoint", "teacher_pretrained", "alpha", "temperature"):
        if args.teacher is None and name in args.given:
            raise UserError(
                f"{_written(name)} is for a teacher: name it with --teacher, such as deit_small_patch16_224"
            )
    teacher = None
    if args.teacher is not None:
        teacher = TeacherSpec(args.teacher, args.teacher_checkpoint, args.teacher_pretrained)
    return TrainingSpec(evaluation, TrainingRecipe(**recipe), teacher)


def written_bits(args: argparse.Namespace) -> tuple[int, ...]:
    """The widths of ``--bits``; none where it was not written, for those that suit the model."""
    return () if args.bits is None else parse_bits(args.bits)


def spec_changes(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`bitfront.search.session.specs.recorded_spec` takes over from the arguments.

    Returns:
        The fields whose options were written, and those of the machine at hand.
    """
    names = {*args.given, *MACHINE_FIELDS}
    return {name: _value(args, name) for name in EVALUATION_OPTIONS if name in names}


def _value(args: argparse.Namespace, name: str) -> Any:
    """An option's value; paths are made absolute, so that a run or config can be used from any folder."""
    value = getattr(args, name)
    return absolute_place(name, value) if name in PLACES and value else value


def _written(name: str) -> str:
    return f"--{name.removesuffix('_metric').replace('_', '-')}"


def written_options(args: argparse.Namespace, *further: str) -> list[str]:
    """The options of the evaluation spec that were written, and ``further`` ones, for the next commands."""
    return [word for name in (*EVALUATION_OPTIONS, *further) for word in args.words.get(name, ())]


def written_batch(args: argparse.Namespace) -> int | None:
    """The images of a batch where ``--latency-batch`` was written."""
    return int(args.latency_batch) if "latency_batch" in args.given else None


def run_spec(args: argparse.Namespace) -> RunSpec:
    """The run spec that arguments describe.

    Raises:
        UserError: An option cannot be read.
    """
    evaluation = evaluation_spec(args, written_bits(args), args.formats)
    return RunSpec(
        evaluation=dataclasses.replace(evaluation, first_images=args.first_images),
        latency_batch=written_batch(args),
        **{name: getattr(args, name) for name in RUN_OPTIONS},
    )


def run_changes(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`bitfront.search.search_from` takes over from the arguments: fields of the run spec.

    Raises:
        UserError: An option was written that decides what an evaluation is worth, which the earlier run has.
    """
    own = {*RUN_OPTIONS, "latency_batch"}
    known = {*own, *WORKER_OPTIONS, "begin_from", "run", "runs_dir", "storage"}
    if foreign := sorted(args.given - known):
        raise UserError(
            f"{_written(foreign[0])} cannot be given with --from: what an evaluation is worth is that of run "
            f"{checked_name(args.begin_from)}; costs, limits, objectives, the space and budgets may be others"
        )
    return {name: getattr(args, name) for name in own if name in args.given and name != "evaluations"}


def chosen_workers(args: argparse.Namespace) -> WorkerOptions:
    """Who evaluates.

    Raises:
        UserError: An option cannot be read, or rules out another.
    """
    return WorkerOptions(**{name: getattr(args, name) for name in WORKER_OPTIONS if hasattr(args, name)})


def check_resumable(args: argparse.Namespace, what: str, changeable: Sequence[str]) -> None:
    """Refuses settings beside ``--resume``, but for ``changeable`` ones and those of the machine.

    Raises:
        UserError: Another option was written; ``what`` says whose setting it is.
    """
    foreign = sorted(args.given - {*changeable, *WORKER_OPTIONS, "resume", "runs_dir", "storage"})
    if foreign:
        raise UserError(
            f"{_written(foreign[0])} cannot be given with --resume: {what} {checked_name(args.resume)} keeps "
            f"its settings; only {', '.join(map(_written, changeable))} and the options of the machine may be"
        )
