"""The order of class folders that can be read in two ways: the one that the float model fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.context.machine import device_named
from bitfront.evaluators.context.preparing import CALIBRATION_BATCH, source_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.class_map import NATURAL, PLAIN
from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.source import CALIBRATING, ImageSource, has_two_orders, remarks_of
from bitfront.evaluators.models.loading import LoadedModel
from bitfront.evaluators.tasks.chance import clearly_better
from bitfront.evaluators.tasks.registry import task_named
from bitfront.spaces import UserError

# Images that the float model classifies: of classes with other labels in both orders, which alone tell.
MOST_IMAGES = 128
_WHOSE = {PLAIN: "torchvision's", NATURAL: "timm's"}


def in_decided_order(
    spec: EvaluationSpec, model: LoadedModel, source: ImageSource, note: Callable[[str], None]
) -> tuple[EvaluationSpec, ImageSource]:
    """A spec and its images in the order of class folders that the float model fits, where there are two.

    Args:
        spec: What is evaluated.
        model: The float model, on the spec's device.
        source: The images, in the plain order where the spec names none.
        note: Is told what of the images was left out, and which order was taken and why.

    Raises:
        UserError: The float model fits neither order clearly better.
    """
    natural = _in_natural_order(spec) if has_two_orders(source) else None
    if natural is not None:
        order = decided_order(spec, model, source, natural, note)
        spec, source = dataclasses.replace(spec, class_order=order), natural if order == NATURAL else source
    for remark in remarks_of(source):
        note(remark)
    return spec, source


def decided_order(
    spec: EvaluationSpec,
    model: LoadedModel,
    plain: ImageSource,
    natural: ImageSource,
    note: Callable[[str], None],
) -> str:
    """The order of class folders in which labels are those that the float model was trained on.

    An order with labels that the model has no output for is none. Otherwise the float model classifies images
    that have other labels in both: of the train partition where there is one.

    Args:
        spec: What is evaluated.
        model: The float model, on the spec's device.
        plain: The data in the plain order.
        natural: The same in the natural order; it may have images that the plain one leaves out.
        note: Is told which order was taken, and why.

    Returns:
        ``plain`` or ``natural``.

    Raises:
        UserError: The float model fits neither clearly better.
    """
    sources = {PLAIN: plain, NATURAL: natural}
    fitting = [order for order, source in sources.items() if source.labels.max() < model.classes]
    if not fitting:
        return PLAIN  # whose labels are refused in their own words
    if len(fitting) == 1:
        (order,) = fitting
        (other,) = set(sources) - {order}
        classes = int(sources[other].labels.max()) + 1
        note(
            f"class order: {_named(order)}: there are {classes} classes in {_named(other)}, and the "
            f"model has {model.classes}"
        )
        return order
    indices, labels = _telling_images(plain, natural, spec.seed)
    images = load_images(plain, indices, model.data_config)
    kept = np.isin(indices, images.indices)
    given = {PLAIN: images.labels, NATURAL: torch.from_numpy(labels[kept])}
    right = dict.fromkeys(sources, 0)
    if len(images):
        task, values = task_named(spec.task), _logits(model, spec, images.batches(CALIBRATION_BATCH))
        if not bool(values.isfinite().all()):
            return PLAIN  # calibration names the tensor that overflows
        decisions = task.arithmetic.decisions(values)
        right = {order: int((decisions == given[order]).sum()) for order in sources}
        for order, other in ((PLAIN, NATURAL), (NATURAL, PLAIN)):
            if clearly_better(task, values, given[order], given[other]):
                found = f"{right[order]} of {len(images)} images right, in {_named(other)} {right[other]}"
                note(f"class order: {_named(order)}: the float model has {found}; --class-order sets it")
                return order
    names = (len(source.class_names or ()) for source in sources.values())
    mapped = "" if model.classes in names else f", or a --class-map to the model's {model.classes} outputs"
    raise UserError(
        f"the classes of {plain.name} have other labels in {_named(PLAIN)} than in {_named(NATURAL)} "
        f"({_first_difference(plain, natural)}), and the float model fits neither clearly: {right[PLAIN]} "
        f"and {right[NATURAL]} of {len(images)} images are right; give --class-order plain or natural{mapped}"
    )


def _in_natural_order(spec: EvaluationSpec) -> ImageSource | None:
    """The images with class folders in the natural order; None where several places do not fit so."""
    try:
        return source_of(dataclasses.replace(spec, class_order=NATURAL))
    except UserError:
        return None


def _named(order: str) -> str:
    return f"{order} order ({_WHOSE[order]})"


def _telling_images(
    plain: ImageSource, natural: ImageSource, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in the plain order of some images that have other labels in the natural one, and these."""
    others = natural.labels
    if len(natural) != len(plain):  # it has all images of the plain one, in the same order, and more
        place = {natural.describe(index): index for index in range(len(natural))}
        others = others[[place[plain.describe(index)] for index in range(len(plain))]]
    telling = plain.labels != others
    if plain.partition is not None:
        calibrating = np.isin(plain.partition, CALIBRATING)
        telling = telling & calibrating if bool((telling & calibrating).any()) else telling
    found = np.random.default_rng(seed).permutation(np.flatnonzero(telling))[:MOST_IMAGES]
    return found, others[found]


@torch.inference_mode()
def _logits(
    model: LoadedModel, spec: EvaluationSpec, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    device = device_named(spec.device)
    return torch.cat([model.module(batch.to(device)).cpu() for batch, _ in batches])


def _first_difference(plain: ImageSource, natural: ImageSource) -> str:
    """The first class that has another name, or the images that one of both alone has."""
    names = plain.class_names or (), natural.class_names or ()
    for label in range(max(map(len, names))):
        one, other = (repr(own[label]) if label < len(own) else "none" for own in names)
        if one != other:
            return f"class {label} is {one} or {other}"
    return "images have the labels of other folders"
