"""Evaluation specs from command-line arguments, and bit config documents from files."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.spaces import UserError

# Options of the command line that are fields of the spec under the same name.
OPTIONS = (
    "model",
    "checkpoint",
    "pretrained",
    "data",
    "scheme",
    "calibration_images",
    "search_images",
    "test_images",
    "seed",
    "recipe",
    "without",
    "observer",
    "device",
    "batch_size",
    "threads",
)
# Those that say on what it runs: they belong to the machine at hand, not to a configuration.
MACHINE_OPTIONS = ("device", "batch_size", "threads")


def evaluation_spec(args: argparse.Namespace, widths: tuple[int, ...]) -> EvaluationSpec:
    """The spec that arguments describe, at the given widths."""
    return EvaluationSpec(**{name: _value(args, name) for name in OPTIONS}, widths=widths)


def _value(args: argparse.Namespace, name: str) -> Any:
    """An option's value; paths are made absolute, so that a run or config can be used from any folder."""
    value = getattr(args, name)
    if name in ("checkpoint", "data") and value is not None and Path(value).exists():
        return str(Path(value).resolve())
    return value


def written_options(args: argparse.Namespace) -> list[str]:
    """The options of the spec that were written, for the commands that come next."""
    words: list[str] = []
    for name in OPTIONS:
        value = getattr(args, name)
        if name in args.given:
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else [",".join(value) if isinstance(value, tuple) else str(value)]
    return words


def recorded_spec(recorded: Mapping[str, Any], args: argparse.Namespace) -> EvaluationSpec:
    """The spec under which a bit config was found, with this machine's settings and the options written.

    Raises:
        UserError: The record is damaged, or of a version that knew no recipes.
    """
    if "recipe" not in recorded:
        raise UserError(
            "the bit config was found by an earlier version, which prepared models in another way: search "
            'again, or remove its "evaluation" entry and give --model, --data and --recipe'
        )
    try:
        spec = EvaluationSpec.from_json(dict(recorded))
    except (KeyError, TypeError) as error:
        raise UserError(
            f'the bit config\'s provenance is damaged ({error}): remove its "evaluation" entry and give '
            "--model and --data"
        ) from error
    written = {name: _value(args, name) for name in OPTIONS if name in {*args.given, *MACHINE_OPTIONS}}
    if "checkpoint" in written:
        written["pretrained"] = False
    elif "pretrained" in written:
        written["checkpoint"] = None
    if "recipe" in written:
        # What was left out of, or set beside, another recipe says nothing about this one.
        written = {"without": (), "observer": None, **written}
    return dataclasses.replace(spec, **written)


LARGEST_BYTES = 10_000_000
# Endings of exported models.
_CARRIERS = (".safetensors", ".onnx", ".xml")


def read_config_document(path: Path) -> dict[str, Any]:
    """The bit config document of a file: of a bit config itself, or of an exported model.

    Raises:
        UserError: The file is missing, too large, of another kind, or carries none.
    """
    if path.suffix in _CARRIERS:
        from bitfront.evaluators.deployment.formats import file_document

        return file_document(path)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(f"{path} is too large for a bit config: give a file written by bitfront export")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read as a bit config ({error}): give a file written by bitfront export"
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no JSON object: give a file written by bitfront export")
    return document
