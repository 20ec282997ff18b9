"""An exported folder: a model with all that somebody needs to run it, without bitfront."""

from __future__ import annotations

import csv
import filecmp
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np

from bitfront.evaluators.context.spec import DATA_PLACES, EvaluationSpec
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.data.registry import path_of
from bitfront.evaluators.deployment.expectation import RECORD
from bitfront.evaluators.deployment.facts import ServingFacts
from bitfront.evaluators.deployment.registry import FORMATS, MODEL, ModelFormat
from bitfront.evaluators.deployment.tolerance import Classes, Expected, alike
from bitfront.evaluators.deployment.verification import Verification
from bitfront.evaluators.files import check_writable, explained, write_atomically
from bitfront.spaces import UserError

BIT_CONFIG, PREPROCESSING, CLASSES = "bit-config.json", "preprocessing.json", "classes.json"
RESULTS, README, PREDICT = "verification.csv", "README.md", "predict.py"
_MODELS = tuple(
    f"{MODEL}{ending}"
    for form in FORMATS.values()
    if isinstance(form, ModelFormat) and form.in_folder
    for ending in (form.suffix, *form.companions)
)
# All that exports write, in the order in which they are replaced: where the record is, the model is.
OWN = (BIT_CONFIG, PREPROCESSING, CLASSES, PREDICT, README, *reversed(_MODELS), RESULTS, RECORD)
# What may differ where a folder is written again with the same model.
_FIGURES = (README, RESULTS, RECORD)
_BY_PYTHON = "__pycache__"


@dataclass(frozen=True)
class ServedModel:
    """What a folder says of its model.

    Attributes:
        facts: Of its input and outputs.
        classes: Number of its outputs.
        several: Whether an image may have any number of labels.
        runtime: What the file is written for.
        runtimes: What computes it as it was evaluated.
    """

    facts: ServingFacts
    classes: int
    several: bool
    runtime: str
    runtimes: tuple[str, ...]


def check_folder(folder: Path, force: bool, make_parent: bool) -> None:
    """Finds out before long work whether an export may be written as this folder.

    Args:
        folder: Need not exist.
        force: Whether it may hold something else, which stays.
        make_parent: Whether the folder above it is made where it is missing.

    Raises:
        UserError: It may not, or cannot.
    """
    with explained(folder):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"cannot write {folder}: it is a file; expected the name of a folder")
        there = folder.is_dir()
        if there and not force and not (folder / BIT_CONFIG).exists() and os.listdir(folder):
            raise _taken(folder, "other files")
    check_writable(folder / BIT_CONFIG if there else folder, make_folder=make_parent and not there)


def describe_model(folder: Path, model: Path, served: ServedModel, document: Mapping[str, Any]) -> None:
    """Writes what is known before the model was verified: its configuration, input, classes and program."""
    facts = served.facts
    runs = {"runtime": served.runtime, "runtimes": list(served.runtimes)}
    preprocessing = {"model": model.name, **runs, **facts.preprocessing_json()}
    classes = {
        "task": facts.task,
        "several": served.several,
        "count": served.classes,
        "names": None if facts.class_names is None else list(facts.class_names),
    }
    documents = {
        BIT_CONFIG: document,
        PREPROCESSING: {"format": "bitfront/preprocessing", "version": 1, **preprocessing},
        CLASSES: {"format": "bitfront/classes", "version": 1, **classes},
    }
    for name, content in documents.items():
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        write_atomically(folder / name, text + "\n")
    program = package_files("bitfront.evaluators.deployment").joinpath(PREDICT)
    write_atomically(folder / PREDICT, program.read_text(encoding="utf-8"))


def image_names(spec: EvaluationSpec, describe: Callable[[int], str], indices: Sequence[int]) -> list[str]:
    """What images are called in their data, without where that lies.

    Args:
        spec: Names the data.
        describe: What the source calls an image.
        indices: Positions in the source.
    """
    paths = [path_of(spec.places[name]) for name in DATA_PLACES if name in spec.places]
    roots = [Path(path) if Path(path).is_dir() else Path(path).parent for path in paths if path]

    def short(text: str) -> str:
        inside = [Path(text).relative_to(root) for root in roots if Path(text).is_relative_to(root)]
        if inside:
            return min(inside, key=lambda path: len(path.parts)).as_posix()
        return Path(text).name if Path(text).is_absolute() or ".." in Path(text).parts else text

    return [short(describe(int(index))) for index in indices]


def write_results(
    path: Path,
    images: PreprocessedImages,
    names: Sequence[str],
    expected: Expected,
    figures: Verification,
    class_names: Sequence[str] | None,
) -> None:
    """Writes what became of each image: one row each, in the order of the data's split.

    Args:
        path: The CSV file.
        images: What was classified.
        names: What the images are called.
        expected: What the evaluator made of them.
        figures: What the file made of them.
        class_names: Of the outputs, where they are known.
    """
    found = figures.predictions
    columns: dict[str, Sequence[Any]] = {
        "index": images.indices.tolist(),
        "image": names,
        "label": _written(expected.labels),
        "predicted": _written(found),
        "evaluator": _written(expected.predictions),
        "right": _flags(alike(found, expected.labels)),
        "evaluator_right": _flags(alike(expected.predictions, expected.labels)),
        "equal": _flags(alike(found, expected.predictions)),
        "largest_logit_difference": (
            [""] * len(names) if figures.apart is None else [f"{value:.6g}" for value in figures.apart]
        ),
        "label_name": _written(expected.labels, class_names or ()),
        "predicted_name": _written(found, class_names or ()),
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_atomically(path, text.getvalue())


def _written(decisions: Classes, names: Sequence[str] | None = None) -> list[str]:
    """Classes as their indices or names; of several labels those that are given, with semicolons between."""

    def word(index: int) -> str:
        return str(index) if names is None else names[index] if index < len(names) else ""

    if decisions.ndim == 1:
        return [word(int(index)) for index in decisions]
    return ["; ".join(word(int(index)) for index in np.flatnonzero(row)) for row in decisions]


def _flags(values: Any) -> list[str]:
    return ["true" if value else "false" for value in values]


def check_content(staging: Path, folder: Path, force: bool) -> None:
    """Refuses to replace a folder that holds another model.

    Args:
        staging: What would be written, as far as it is known before the model is verified.
        folder: Where; need not exist.
        force: Whether it may be replaced all the same.

    Raises:
        UserError: It holds something else.
    """
    for name in () if force else OWN:
        there, new = folder / name, staging / name
        if name in _FIGURES or not there.exists():
            continue
        if not new.exists() or not there.is_file() or not filecmp.cmp(new, there, shallow=False):
            raise _taken(folder, f"another {name}")


def place_folder(staging: Path, folder: Path) -> list[Path]:
    """Moves a finished folder to its place, at once where nothing is there yet.

    In a folder that is there, files of exports are replaced or removed; others stay.

    Args:
        staging: The folder, on the same disk.
        folder: Its place, which :func:`check_content` has seen.

    Returns:
        The files, the model first.

    Raises:
        UserError: The place cannot be written.
    """
    with explained(folder):
        if not folder.is_dir():
            staging.rename(folder)
        else:
            # No record may lie beside a model that it is not of.
            for name in reversed(OWN):
                if name in (RECORD, RESULTS) or not (staging / name).exists():
                    (folder / name).unlink(missing_ok=True)
            for name in OWN:
                if (staging / name).exists():
                    (staging / name).replace(folder / name)
    names = dict.fromkeys((*_MODELS, *OWN))
    return [folder / name for name in names if (folder / name).exists()]


def _taken(folder: Path, what: str) -> UserError:
    return UserError(
        f"{folder} exists and holds {what}: choose another folder with --output, or write into it all the "
        "same with --force"
    )
