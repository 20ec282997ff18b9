"""The folder of a training: its record, curves and state, and timm's configuration beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bitfront.evaluators.data.images import preprocessing_to_json
from bitfront.evaluators.files import check_writable, csv_text, explained, finite, replacing, write_atomically
from bitfront.evaluators.models.preprocessing import CONFIG
from bitfront.evaluators.models.torch_archive import check_archive
from bitfront.evaluators.training.recipe import TrainingSpec
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

MODEL, AVERAGE = "model.safetensors", "model_ema.safetensors"
RECORD, CURVES, PICTURE, STATE = "training.json", "curves.csv", "curves.png", "state.pt"
FORMAT, VERSION = "bitfront/training", 1
_STATE_FORMAT = "bitfront/training-state"


def check_place(folder: Path, overwrite: bool) -> None:
    """Finds out before long work whether a training can be written, and makes the folder.

    Raises:
        UserError: It cannot be written, or holds a training or other files already.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file: name a folder for the training")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        resumed = f", or go on with it: --resume {folder}" if (folder / STATE).exists() else ""
        raise UserError(
            f"{folder} holds files: choose another folder, or write into it with --force{resumed}"
        )
    check_writable(folder / RECORD, make_folder=True)
    (folder / STATE).unlink(missing_ok=True)


def write_record(folder: Path, document: Mapping[str, Any]) -> None:
    """Writes ``training.json``."""
    write_atomically(
        folder / RECORD,
        json.dumps(finite({"format": FORMAT, "version": VERSION, **document}), indent=2) + "\n",
    )


def read_record(folder: Path) -> tuple[TrainingSpec, dict[str, Any]]:
    """What a folder was trained with, and all that its record says.

    Raises:
        UserError: The folder is none of a training, or its record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        raise UserError(
            f"{folder} is no folder of a training ({RECORD} is missing): give one that `bitfront train` wrote"
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise ValueError(f"format {document['format']!r}, version {document['version']!r}")
        return TrainingSpec.from_json(document["spec"]), document
    except (OSError, ValueError, OverflowError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged or of another version ({one_line(error, 80)}): restore it from a copy, or "
            "train again"
        ) from error


def write_state(path: Path, training: str, state: Mapping[str, Any]) -> None:
    """Writes what a training goes on from, whole or not at all; ``training`` says which it is, as JSON."""
    content = {"format": _STATE_FORMAT, "version": VERSION, "training": training, **state}
    with explained(path), replacing(path) as part:
        torch.save(content, part)


def read_state(path: Path) -> dict[str, Any]:
    """What a training goes on from, with ``training``, which it is; nothing in the file is executed.

    Raises:
        UserError: The file is damaged.
    """
    try:
        check_archive(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != _STATE_FORMAT or state["version"] != VERSION:
            raise ValueError("of another format")
    except Exception as error:  # damaged bytes make torch raise many types
        raise UserError(f"{path} is damaged ({one_line(error, 80)}): train again, with --force") from error
    return state


def state_in(folder: Path, spec: TrainingSpec) -> dict[str, Any]:
    """The state of the training in a folder.

    Raises:
        UserError: There is none, it is damaged, or of another training.
    """
    path = folder / STATE
    if not path.is_file():
        ended = (folder / MODEL).is_file()
        why = "the training has ended" if ended else f"{STATE} is missing: train again, with --force"
        raise UserError(f"{folder} cannot be resumed: {why}")
    state = read_state(path)
    if state["training"] != json.dumps(spec.to_json()):
        raise UserError(f"{path} is of another training than {RECORD} beside it: train again, with --force")
    return state


def write_curves(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Writes ``curves.csv``: a row for every epoch."""
    header = list(rows[0]) if rows else []
    write_atomically(folder / CURVES, csv_text(header, ([row[name] for name in header] for row in rows)))


def write_config(folder: Path, model: str, config: Mapping[str, Any]) -> None:
    """Writes timm's ``config.json``, by which the preprocessing of the weights beside it is found."""
    architecture = model.rpartition("/")[2].partition(".")[0]
    write_atomically(folder / CONFIG, json.dumps({"architecture": architecture, **config}, indent=2) + "\n")


def timm_config(
    module: Any,
    data_config: Mapping[str, Any],
    class_names: Sequence[str] | None,
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """What timm's ``config.json`` says of a model beside its architecture.

    Args:
        module: The model.
        data_config: timm's resolved preprocessing that it was trained with.
        class_names: Of its outputs, where the data know them.
        arguments: Of timm's constructor that its name does not say.
    """
    classes = int(module.num_classes)
    known = {
        key: module.pretrained_cfg[key]
        for key in ("first_conv", "classifier")
        if key in module.pretrained_cfg
    }
    config: dict[str, Any] = {
        "num_classes": classes,
        "num_features": int(module.num_features),
        "pretrained_cfg": {
            "num_classes": classes,
            "fixed_input_size": True,
            **preprocessing_to_json(data_config),
            **known,
        },
    }
    if arguments:
        config["model_args"] = dict(arguments)
    if class_names is not None and len(class_names) == classes:
        config["label_names"] = list(class_names)
    return config
