"""Preparation of a context: what calibration decides for a spec, and the model at every precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.context.spec import DATA_PLACES, EvaluationSpec
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.data.registry import open_sources
from bitfront.evaluators.data.source import ImageSource
from bitfront.evaluators.data.splits import Splits, make_splits
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.calibrated_model_file import cached_calibrated_model
from bitfront.evaluators.preparation.refinement_file import load_refinement, read_refinement
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.quantized.fq_vit import check_integer
from bitfront.evaluators.quantized.prepared import PreparedModel, check_config
from bitfront.evaluators.tasks.metric import ARGUMENT, Outputs
from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.spaces import KINDS, BitConfig, Choices, UserError
from bitfront.spaces.schemes import FQ_VIT

# Prepared beside the searched widths: the uniform 8-bit model is the reference of constraint 4.
REFERENCE_BITS = 8
# Of calibration; a constant, so that ranges do not depend on what is quickest.
CALIBRATION_BATCH = 32
# Weights of the encoders from which on several threads calibrate quicker than one.
WEIGHTS_WORTH_SHARING = 2_000_000


def source_of(spec: EvaluationSpec) -> ImageSource:
    """The images that a spec names, of all splits; raises :class:`UserError` where they cannot be used."""
    others = spec.calibration_data, spec.test_data
    return open_sources(
        spec.data, *others, class_order=spec.class_order, class_map=spec.class_map, columns=spec.columns
    )


def splits_of(spec: EvaluationSpec, source: ImageSource) -> Splits:
    """The splits that a spec asks for; raises :class:`UserError` where there are too few images."""
    others = {"calibration": spec.calibration_data, "search": None, "test": spec.test_data}
    places = {
        split: f"--data {spec.data}" if place is None else f"--{split}-data {place}"
        for split, place in others.items()
    }
    return make_splits(
        source,
        calibration=spec.calibration_images,
        search=spec.search_images,
        test=spec.test_images,
        seed=spec.seed,
        tell_apart=spec.tell_apart,
        places=places if len(spec.places.keys() & DATA_PLACES) > 1 else {},
    )


def task_blueprint(spec: EvaluationSpec, module: nn.Module) -> Blueprint:
    """The blueprint of a float model that is used for a spec's task.

    Raises:
        UserError: The model is of no known family, or has a part that its scheme does not cover.
    """
    blueprint = blueprint_of(spec.model, module)
    if spec.scheme == FQ_VIT:
        check_integer(blueprint)
    return dataclasses.replace(blueprint, independent=task_named(spec.task).multiple)


def check_classes(task: Task, metrics: Sequence[str], names: tuple[str, ...] | None, classes: int) -> None:
    """Refuses metrics of classes that there are not, before minutes go into a preparation.

    Args:
        task: Whose metrics these are.
        metrics: By name; those that are of a class are tried on two images.
        names: Of the classes, where the data know them.
        classes: Outputs of the model.

    Raises:
        UserError: There is no such class.
    """
    values = torch.eye(2, classes)
    labels = values.long() if task.multiple else torch.zeros(2, dtype=torch.int64)
    for name in metrics:
        if ARGUMENT in name:
            task.metric(name).value(task.arithmetic.outputs(Outputs(values, values, labels, names)))


def compute_in_float32() -> None:
    """Keeps GPUs from rounding the operands of float32 products (TF32): integers in float lanes are exact."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def preparing_threads(blueprint: Blueprint) -> int:
    """Threads for calibration: the operators of a small model are too short to be shared."""
    layers = (parts for encoder in blueprint.encoders for parts in encoder.linear().values())
    weights = sum(parts.weight.numel() for parts in layers)
    return available_cpus() if weights > WEIGHTS_WORTH_SHARING else 1


def calibrated_for(
    spec: EvaluationSpec, blueprint: Blueprint, images: PreprocessedImages, progress: ShareDone = unreported
) -> CalibratedModel:
    """What the calibration images decide for a spec, from the cache where it can be had there."""
    recipe, choices = spec.whole_recipe, prepared_choices(spec)
    observer = spec.observer or recipe.observer
    return cached_calibrated_model(
        blueprint, images, CALIBRATION_BATCH, choices, recipe, observer, spec.scheme, progress
    )


def prepared_with(
    spec: EvaluationSpec, calibrated: CalibratedModel, keep_codes: bool = False, only: BitConfig | None = None
) -> PreparedModel:
    """The calibrated model in the searched formats and the reference width, for any configuration or one."""
    return PreparedModel(
        calibrated.blueprint,
        calibrated.calibration,
        spec.scheme,
        prepared_choices(spec),
        weight_ranges(spec),
        calibrated.layers,
        calibrated.log_steps,
        keep_codes=keep_codes,
        only=only,
    )


def refined_with(
    spec: EvaluationSpec, path: Path, float_blueprint: Blueprint, calibration: str, keep_codes: bool = False
) -> PreparedModel:
    """The model as a refinement left it, which is that of its configuration alone.

    Args:
        spec: Of the model that was refined.
        path: The refinement.
        float_blueprint: The float model.
        calibration: Digest of what calibration decided of it here.
        keep_codes: Whether the codes of every layer stay.

    Raises:
        UserError: The file is none of a refinement, or one of another model, scheme or calibration.
    """
    document = read_refinement(path)
    check_config(document.config, float_blueprint, spec.scheme)
    if document.started_from != calibration:
        raise UserError(
            f"{path} refines another calibration than this one: it holds for the weights, calibration images "
            "and recipe that it was learned with, on the same kind of processor; refine again"
        )
    calibrated = load_refinement(path, float_blueprint, float_blueprint.patch.weight.device)
    formats = document.config.formats()
    choices = spec.choices.including({kind: formats.of(kind) for kind in KINDS})
    return prepared_with(with_choices(spec, choices), calibrated, keep_codes, document.config)


def weight_ranges(spec: EvaluationSpec) -> str:
    """How ranges of weights are found that nothing is fitted for, as :class:`PreparedModel` takes it."""
    return spec.whole_recipe.weight_ranges


def with_choices(spec: EvaluationSpec, choices: Choices) -> EvaluationSpec:
    """The spec with formats of each kind; with widths alone where these are plain and the same for all."""
    if choices.plain and choices.same:
        widths = tuple(value for value in choices.every if isinstance(value, int))
        return dataclasses.replace(spec, widths=widths, formats=())
    return dataclasses.replace(spec, formats=choices.texts)


def prepared_choices(spec: EvaluationSpec) -> Choices:
    """The searched formats and that of the reference model."""
    return spec.choices.including(dict.fromkeys(KINDS, (REFERENCE_BITS,)))
