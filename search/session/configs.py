"""Bit configs from files: their documents, and what the configurations were found under."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.deployment.registry import MODEL_SUFFIXES, file_document
from bitfront.search.session.specs import recorded_spec
from bitfront.spaces import BitConfig, UserError

LARGEST_BYTES = 10_000_000
Document = dict[str, Any]


def read_config_document(path: Path) -> Document:
    """The bit config document of a file: of a bit config itself, or of an exported model.

    Raises:
        UserError: The file is missing, too large, of another kind, or carries none.
    """
    if path.suffix in MODEL_SUFFIXES:
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


def recorded_evaluation(document: Mapping[str, Any]) -> Document | None:
    """What a bit config document says of the evaluation spec that the config was found under."""
    provenance = document.get("provenance")
    recorded = provenance.get("evaluation") if isinstance(provenance, dict) else None
    return recorded if isinstance(recorded, dict) else None


def config_spec(
    document: Mapping[str, Any],
    otherwise: EvaluationSpec | None = None,
    changes: Mapping[str, Any] | None = None,
) -> EvaluationSpec:
    """The spec that a bit config is evaluated under: that which it was found under, on this machine.

    Args:
        document: The bit config document.
        otherwise: The spec for a document that does not say what it was found under; None for the defaults.
        changes: Fields that take other values than when it was found.

    Raises:
        UserError: The document is damaged, or for another scheme than was asked for.
    """
    config, changes = BitConfig.from_json(dict(document)), changes or {}
    asked = EvaluationSpec(model=config.model, scheme=changes.get("scheme", config.scheme))
    check_same("the bit config", config, asked)
    recorded, widths = recorded_evaluation(document), tuple(sorted(config.widths()))
    if recorded is not None:
        spec = recorded_spec({**recorded, "widths": widths}, changes)
    else:
        spec = otherwise or EvaluationSpec(model=config.model)
    return dataclasses.replace(spec, scheme=config.scheme, widths=widths)


def check_same(what: str, config: BitConfig, spec: EvaluationSpec) -> None:
    """Raises :class:`UserError` where a configuration is for another model or scheme than the spec."""
    for name, theirs, ours in (("scheme", config.scheme, spec.scheme), ("model", config.model, spec.model)):
        if theirs != ours:
            raise UserError(f"{what} is for {name} {theirs}, not {ours}: give --{name} {theirs}")
