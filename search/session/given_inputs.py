"""Models and data sets that are given as Python objects: files of the run folder that stand for them."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.given_images import LabelledImages, write_images
from bitfront.evaluators.data.splits import LARGEST_DEFAULT_TEST, largest_splits
from bitfront.evaluators.files import explained
from bitfront.evaluators.models.given_model import write_model
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.runs.files import INPUTS

MODEL = "model.safetensors"
# Of the images of each field.
FOLDERS = {"data": "images", "calibration_data": "calibration_images", "test_data": "test_images"}


def write_given(
    folder: Path,
    spec: EvaluationSpec,
    model: nn.Module | None = None,
    data: LabelledImages | None = None,
    share_done: ShareDone = unreported,
    *,
    calibration_data: LabelledImages | None = None,
    test_data: LabelledImages | None = None,
) -> EvaluationSpec:
    """Writes what was given as Python objects to ``inputs/`` of a run folder.

    Worker processes, resumed runs, exports and verifications read these files, and so have the same model
    and the same images.

    Args:
        folder: The run folder.
        spec: Says what was not given.
        model: A vision transformer of timm with its weights; see
            :func:`~bitfront.evaluators.models.given_model.write_model`.
        data: A map-style data set of images and labels; see
            :func:`~bitfront.evaluators.data.given_images.write_images`. Of a large one, as many images are
            drawn and written as the splits can take.
        share_done: Is told the share of the images that is written, of one data set after the other.
        calibration_data: One whose images calibrate, instead of some of ``data``.
        test_data: One that the finished front is reported on, instead of some of ``data``.

    Returns:
        The spec with ``model``, ``checkpoint``, ``data`` and the like of these files, by absolute paths.

    Raises:
        UserError: The model cannot be rebuilt from a file, an item of the data set is not an image with a
            label of the model, or the folder cannot be written. Nothing half-written stays.
        BitfrontError: The disk is full.
    """
    place = folder.absolute() / INPUTS
    with explained(place):
        place.mkdir(parents=True, exist_ok=True)
    classes = None
    if model is not None:
        path = place / MODEL
        architecture = write_model(path, model)
        classes = int(architecture.arguments["num_classes"])
        spec = dataclasses.replace(spec, model=architecture.name, checkpoint=str(path), pretrained=False)
    tables: dict[str, Any] = {}
    given = {"data": data, "calibration_data": calibration_data, "test_data": test_data}
    multiple = task_named(spec.task).multiple
    for field, images in given.items():
        if images is None:
            continue
        table = write_images(
            place / FOLDERS[field],
            images,
            classes,
            share_done,
            most=_most_images(spec, field),
            seed=spec.seed,
            multiple=multiple,
        )
        tables[field] = str(table)
    return dataclasses.replace(spec, **tables)


def _most_images(spec: EvaluationSpec, field: str) -> int:
    """Images of a data set that the splits can take."""
    if field == "calibration_data":
        return spec.calibration_images
    if field == "test_data":
        return spec.test_images or LARGEST_DEFAULT_TEST
    return largest_splits(spec.calibration_images, spec.search_images, spec.test_images, spec.tell_apart)


@contextmanager
def given_inputs(
    spec: EvaluationSpec,
    model: nn.Module | None,
    data: LabelledImages | None,
    calibration_data: LabelledImages | None = None,
    test_data: LabelledImages | None = None,
) -> Iterator[EvaluationSpec]:
    """What was given as Python objects, as files that are there for the length of a block.

    Args:
        spec: Says what was not given.
        model: As of :func:`write_given`.
        data: As of :func:`write_given`, and so the others.
        calibration_data: Images that calibrate.
        test_data: Images that are reported on.

    Yields:
        The spec with these files; see :func:`write_given`.
    """
    if all(given is None for given in (model, data, calibration_data, test_data)):
        yield spec
        return
    with tempfile.TemporaryDirectory(prefix="bitfront-") as folder:
        yield write_given(
            Path(folder), spec, model, data, calibration_data=calibration_data, test_data=test_data
        )
