"""The batch size that was measured to be quickest, kept in the user's cache.

Float parts of a model may round otherwise in batches of another size, so that evaluations are those of a
batch size. A measurement of a few seconds does not always end the same: without this, the next run of the
same settings would have evaluations of its own.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from bitfront.evaluators.context.machine import rounding_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import parsed_json, replacing
from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.evaluators.preparation.store.store import SETTING_SUFFIX, PreparationStore
from bitfront.evaluators.quantized.kernels.backend import Kernels

logger = logging.getLogger(__name__)

FORMAT = "bitfront/batch-size"
_LARGEST = 2**20


def machine_key(spec: EvaluationSpec, calibration: str, kernels: Kernels) -> str:
    """The digest of a prepared model and of what runs it here, whatever the images.

    Args:
        spec: Of its evaluations.
        calibration: Digest of what calibration decided.
        kernels: What runs it.
    """
    return fingerprint(
        {
            "calibration": calibration,
            "settings": json.dumps([spec.model, spec.scheme, spec.device]),
            "kernels": kernels.description,
            "processor": rounding_of(kernels.device),
        }
    )


def kept_batch_size(key: str) -> int | None:
    """The batch size of a prepared model on this machine, by :func:`machine_key`; None where none is kept."""
    path = _path(key)
    if path is None:
        return None
    try:
        document = parsed_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.info("cannot read the kept batch size %s: %s", path, error)
        return None
    found = document.get("batch_size") if isinstance(document, dict) else None
    sound = type(found) is int and 1 <= found <= _LARGEST and document.get("format") == FORMAT
    return found if sound else None


def keep_batch_size(key: str, batch_size: int) -> None:
    """Keeps a batch size; a folder that cannot be written keeps nothing."""
    path = _path(key)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as part:
            part.write_text(json.dumps({"format": FORMAT, "batch_size": batch_size}) + "\n")
    except OSError as error:
        logger.info("the batch size is not kept: cannot write to %s: %s", path, error)


def _path(key: str) -> Path | None:
    folder = PreparationStore.default().folder
    return None if folder is None else folder / f"{key}{SETTING_SUFFIX}"
