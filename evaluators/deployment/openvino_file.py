"""OpenVINO's own format: a graph (``.xml``) and its constants (``.bin``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitfront.evaluators.deployment.documents import read_document
from bitfront.evaluators.deployment.graph.dialect import OPENVINO
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.graph.writer import METADATA_KEY
from bitfront.evaluators.deployment.onnx_file import onnx_bytes
from bitfront.evaluators.runtimes.openvino import read_model
from bitfront.evaluators.runtimes.runtime import runtime_named
from bitfront.spaces import BitConfig

SUFFIX, CONSTANTS = ".xml", ".bin"
_INFO = [METADATA_KEY, "document"]


def write_openvino(
    path: Path, parts: GraphParts, config: BitConfig, document: Mapping[str, Any]
) -> tuple[Path, Path]:
    """Writes a configuration as OpenVINO IR; 4-bit constants stay 4-bit, equal models are equal files.

    Args:
        path: The ``.xml`` file; the ``.bin`` file stands beside it.
        parts: The prepared model's numbers.
        config: The configuration.
        document: The bit config document that it carries.

    Returns:
        Both files.

    Raises:
        UserError: OpenVINO is not installed.
    """
    runtime_named("openvino")
    import openvino

    model = openvino.Core().read_model(onnx_bytes(parts, config, OPENVINO, document))
    _number(model)
    model.set_rt_info(json.dumps(document, separators=(",", ":"), allow_nan=False), _INFO)
    openvino.save_model(model, path, compress_to_fp16=False)
    return path, path.with_suffix(CONSTANTS)


def _number(model: Any) -> None:
    """Names operators that have no name of their own: OpenVINO would count on from model to model."""
    for number, op in enumerate(model.get_ordered_ops()):
        if op.get_friendly_name() == op.get_name():
            op.set_friendly_name(f"{op.get_type_name()}_{number}")


def openvino_document(path: Path) -> dict[str, Any]:
    """The bit config document of an IR.

    Raises:
        UserError: OpenVINO is not installed, or the file cannot be read or was not written by bitfront.
    """
    runtime_named("openvino")
    import openvino

    model = read_model(openvino.Core(), path)
    text = model.get_rt_info(_INFO).astype(str) if model.has_rt_info(_INFO) else None
    return read_document(path, text)
