"""The bit config document that every exported file carries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitfront.evaluators.data.images import preprocessing_from_json, preprocessing_to_json
from bitfront.evaluators.models.loading import LoadedModel
from bitfront.spaces import BitConfig, UserError

LONGEST = 10_000_000


def read_document(path: Path, text: str | None) -> dict[str, Any]:
    """The document of a file's metadata, checked as far as its bits.

    Raises:
        UserError: There is none, or it is damaged.
    """
    if text is None:
        raise UserError(f"{path} carries no bit config: give a file that bitfront export wrote")
    try:
        if len(text) > LONGEST:
            raise ValueError("too long")
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} carries a damaged bit config ({error}): export it again") from error
    try:
        BitConfig.from_json(document)
    except UserError as error:
        raise UserError(
            f"{path} carries a document that cannot be used ({error}): export it again"
        ) from error
    return dict(document)


def provenance_of(
    model: LoadedModel, class_names: Sequence[str] | None = None, whole_number_bits: int | None = None
) -> dict[str, Any]:
    """What a document says of the float model: how images are preprocessed, and what rebuilds a given one.

    Args:
        model: The float model.
        class_names: Of its outputs, in their order, where the data know them.
        whole_number_bits: Of pixels that are whole numbers of more than 8 bits, where the data have such.
    """
    found: dict[str, Any] = {"preprocessing": preprocessing_to_json(model.data_config)}
    if class_names is not None:
        found["class_names"] = list(class_names)
    if whole_number_bits is not None:
        found["whole_number_bits"] = whole_number_bits
    return found if model.architecture is None else {**found, "architecture": model.architecture.to_json()}


def read_preprocessing(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """How the document of a file says that images are preprocessed, as timm takes it.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        return preprocessing_from_json(document["provenance"]["preprocessing"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not say how images are preprocessed: give --rebuild, or export it again"
        ) from error
