"""What a float model is worth before anything long begins, and whether that is more than a guess."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from bitfront.evaluators.context.machine import device_named
from bitfront.evaluators.context.preparing import CALIBRATION_BATCH
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.data.source import ImageSource
from bitfront.evaluators.models.digits_models import DIGITS_MODELS
from bitfront.evaluators.models.loading import LoadedModel
from bitfront.evaluators.models.preprocessing import GIVEN
from bitfront.evaluators.tasks.chance import judge_float
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.quality import standard_errors
from bitfront.evaluators.tasks.registry import task_named
from bitfront.spaces import UserError

# More say little more of a model that is no better than a guess.
MOST_IMAGES = 512


@torch.inference_mode()
def check_float_model(
    spec: EvaluationSpec,
    model: LoadedModel,
    source: ImageSource,
    images: PreprocessedImages,
    note: Callable[[str], None],
) -> None:
    """Says how images are preprocessed and what the float model makes of some, and refuses one that guesses.

    Args:
        spec: What is evaluated.
        model: The float model, on the spec's device.
        source: Where the images come from.
        images: The calibration images.
        note: Is told, a sentence at a time.

    Raises:
        UserError: The float model is no better than a guess, or labels in another order fit it far better,
            and the spec does not allow that.
    """
    for sentence in model.notes:
        note(sentence)
    for remark in images.remarks:
        note(remark)
    note(f"images: {preprocessing_words(model)}")
    images, device, task = images.part(0, MOST_IMAGES), device_named(spec.device), task_named(spec.task)
    batches = (batch for batch, _ in images.batches(CALIBRATION_BATCH))
    values = torch.cat([model.module(batch.to(device)).cpu() for batch in batches])
    if not bool(values.isfinite().all()):
        return  # calibration names the tensor that overflows
    outputs = task.arithmetic.outputs(Outputs(values, values, images.labels, source.class_names))
    metric = task.metric(task.primary)
    error = standard_errors(outputs, [metric])[metric.name].reference
    verdict = judge_float(task, values, images.labels, source.class_names)
    guess = "" if verdict.guess is None else f" (a guess: {verdict.guess:.2g} %)"
    few = "" if verdict.enough else ": too few to tell it from a guess"
    note(
        f"float model: {metric.title} {metric.value(outputs):.1f} ± {error:.1f} {metric.unit} on "
        f"{len(images)} calibration images{guess}{few}"
    )
    if verdict.fault is None:
        return
    told = f"the float model does not fit the labels of {source.name}: {verdict.fault}"
    if not spec.allow_chance:
        raise UserError(f"{told}; or give --allow-chance to go on all the same")
    note(f"warning: {told}")


def preprocessing_words(model: LoadedModel) -> str:
    """How images become what a model sees, and where that is from, in one line."""
    config = model.data_config
    _, *sides = config["input_size"]
    resized = [math.floor(side / config["crop_pct"]) for side in sides]  # as timm rounds
    whole, taken = (f"{height}x{width}" for height, width in (resized, sides))
    how, mode = config["interpolation"], config.get("crop_mode") or "center"
    if mode == "center":
        scaled = f"shorter side to {min(resized)}" if len(set(resized)) == 1 else f"to cover {whole}"
        scaled = f"{scaled} ({how}), centre {taken}"
    elif mode == "border":
        scaled = f"into {whole} ({how}), with borders, centre {taken}"
    else:
        scaled = f"squashed to {whole} ({how}), centre {taken}"
    mean, std = (", ".join(f"{value:.4g}" for value in config[name]) for name in ("mean", "std"))
    return f"{scaled}, mean {mean}, std {std} ({'; '.join(_origins(model))})"


def _origins(model: LoadedModel) -> list[str]:
    """Where the preprocessing is from: the model's own, and the parts that are not."""
    parts: dict[str, list[str]] = {}
    for name, source in model.origins.items():
        parts.setdefault(source, []).append(name)
    further = [
        f"{', '.join(names)} {source if source == GIVEN else f'from {source} beside the weights'}"
        for source, names in parts.items()
    ]
    return [_own(model), *further]


def _own(model: LoadedModel) -> str:
    """What is called the model's own preprocessing."""
    if model.architecture is not None and not model.adapted:
        return "as the model itself says"
    if model.name in DIGITS_MODELS:
        return f"built in for {model.name}"
    known: Any = model.module.pretrained_cfg
    return "timm's for " + ".".join(filter(None, (known.get("architecture") or model.name, known.get("tag"))))
