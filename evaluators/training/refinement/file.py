"""The file of a refined model: its calibration as tensors, with what it is of and how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.calibrated_model_file import from_entry, to_entry
from bitfront.evaluators.preparation.store.store import DamagedEntryError
from bitfront.evaluators.quantized.prepared import check_config
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.evaluators.training.refinement.refinement import Refined
from bitfront.evaluators.training.refinement.tensor_file import read_tensors, write_tensors
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
        spec: How it learned.
        figures: What was measured (:meth:`Refined.figures`).
        digest: Twelve hexadecimal digits of the configuration.
    """

    config: BitConfig
    started_from: str
    spec: RefinementSpec
    figures: dict[str, Any]
    digest: str


def save_refinement(path: Path, refined: Refined, float_blueprint: Blueprint, spec: RefinementSpec) -> None:
    """Writes a refined model, whole or not at all.

    Args:
        path: The file, usually :data:`REFINED`.
        refined: What is written.
        float_blueprint: The float model that was calibrated.
        spec: How it learned.

    Raises:
        ValueError: The refinement did not help and changed nothing.
        UserError: The place is not writable.
    """
    if not refined.helped:
        raise ValueError("a refinement that did not help leaves nothing to write")
    tensors, document = to_entry(refined.calibrated, float_blueprint)
    described = {
        "config": refined.config.to_json(),
        "config_digest": refined.config.digest,
        "started_from": refined.started_from,
        "spec": spec.to_json(),
        "figures": refined.figures(),
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
    config = _document(path, document).config
    check_config(config, float_blueprint, config.scheme)
    try:
        return from_entry(tensors, document["calibrated"], float_blueprint, device)
    except DamagedEntryError as error:
        raise UserError(f"{path} cannot be used ({one_line(error, 120)}): {_REMEDY}") from error


def _document(path: Path, document: dict[str, Any]) -> RefinementDocument:
    try:
        config = BitConfig.from_json(document["config"])
        if config.digest != document["config_digest"] or not isinstance(document["calibrated"], dict):
            raise ValueError("its configuration is not the one that it names")
        return RefinementDocument(
            config,
            str(document["started_from"]),
            RefinementSpec.from_json(document["spec"]),
            dict(document["figures"]),
            config.digest,
        )
    except (LookupError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path} cannot be used ({one_line(error, 120)}): {_REMEDY}") from error
