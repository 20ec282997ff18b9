"""ONNX files: written from a configuration, and read no further than what they say of themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from bitfront.evaluators.deployment.documents import read_document
from bitfront.evaluators.deployment.graph.dialect import Dialect
from bitfront.evaluators.deployment.graph.model import configuration_graph
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.graph.writer import METADATA_KEY
from bitfront.spaces import BitConfig, UserError

# Of one protobuf message.
LARGEST_BYTES = (1 << 31) - 1


def onnx_bytes(parts: GraphParts, config: BitConfig, dialect: Dialect, document: Mapping[str, Any]) -> bytes:
    """A configuration as the content of an ONNX file.

    Args:
        parts: The prepared model's numbers.
        config: The configuration.
        dialect: The runtime that the file is written for.
        document: The bit config document that it carries.

    Raises:
        UserError: The model is too large for one ONNX file.
    """
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    model = configuration_graph(parts, config, dialect, text)
    if model.ByteSize() > LARGEST_BYTES:
        raise UserError(
            f"{config.model} takes more than the 2 GB of one ONNX file: export it as packed, or with fewer "
            "bits"
        )
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def onnx_document(path: Path) -> dict[str, Any]:
    """The bit config document of an ONNX file.

    Raises:
        UserError: It cannot be read, was not written by bitfront, or takes tensors from other files.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise UserError(
            f"{path} is no ONNX file that can be read ({type(error).__name__}): export it again"
        ) from error
    outside = (tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    if any(outside):
        raise UserError(f"{path} takes tensors from other files; expected one that bitfront export wrote")
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    return read_document(path, texts[0] if texts else None)
