"""The file of a refined model: its calibration as tensors, with what it is of and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.calibrated_model_file import from_entry, to_entry
from bitfront.evaluators.preparation.store.store import DamagedEntryError
from bitfront.evaluators.preparation.tensor_file import read_tensors, write_tensors
from bitfront.spaces import BitConfig, UserError
from bitfront.spaces.errors import one_line

# Its usual name in a folder.
REFINED = "refined.safetensors"
_KIND = "bitfront/refinement"
_REMEDY = "give a file that a refinement wrote, or refine again"


@dataclass(frozen=True)
class RefinementDocument:
    """What a file of a refinement says of itself.

    Attributes:
        config: The configuration that it is of.
        started_from: Digest of the calibrated model that the refinement began with.
        spec: How it learned, as JSON has it.
        figures: What was measured, as JSON has it.
    """

    config: BitConfig
    started_from: str
    spec: dict[str, Any]
    figures: dict[str, Any]


def save_refinement(
    path: Path,
    calibrated: CalibratedModel,
    float_blueprint: Blueprint,
    config: BitConfig,
    started_from: str,
    spec: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> None:
    """Writes a refined model, whole or not at all.

    Args:
        path: The file, usually :data:`REFINED`.
        calibrated: What was learned.
        float_blueprint: The float model that was calibrated.
        config: The configuration that it is of.
        started_from: Digest of the calibrated model that it began with.
        spec: How it learned, as JSON has it.
        figures: What was measured, as JSON has it.

    Raises:
        UserError: The place is not writable.
    """
    tensors, document = to_entry(calibrated, float_blueprint)
    described = {
        "config": config.to_json(),
        "config_digest": config.digest,
        "started_from": started_from,
        "spec": dict(spec),
        "figures": dict(figures),
        "calibrated": document,
    }
    write_tensors(path, _KIND, tensors, described)


def read_refinement(path: Path) -> RefinementDocument:
    """What a file says of itself.

    Raises:
        UserError: There is no such file, or it is damaged or no file of a refinement.
    """
    return _document(path, read_tensors(path, _KIND, _REMEDY)[1])


def load_refinement(path: Path, float_blueprint: Blueprint, device: torch.device) -> CalibratedModel:
    """The refined model of a file.

    Args:
        path: The file.
        float_blueprint: The float model that it was calibrated from.
        device: Where the tensors shall be.

    Raises:
        UserError: There is no such file, it is damaged or no file of a refinement, or of another model.
    """
    tensors, document = read_tensors(path, _KIND, _REMEDY)
    _document(path, document)
    try:
        return from_entry(tensors, document["calibrated"], float_blueprint, device)
    except DamagedEntryError as error:
        raise UserError(f"{path} cannot be used ({one_line(error, 120)}): {_REMEDY}") from error


def _document(path: Path, document: dict[str, Any]) -> RefinementDocument:
    try:
        config = BitConfig.from_json(document["config"])
        if config.digest != document["config_digest"] or not isinstance(document["calibrated"], dict):
            raise ValueError("its configuration is not the one that it names")
        started_from, spec, figures = (document[name] for name in ("started_from", "spec", "figures"))
        return RefinementDocument(config, str(started_from), dict(spec), dict(figures))
    except (LookupError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path} cannot be used ({one_line(error, 120)}): {_REMEDY}") from error
