"""Graph files: ONNX, and OpenVINO's own format (``.xml`` with its constants in ``.bin``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message

from bitfront.evaluators.deployment.compact_ir import compact, without_indentation
from bitfront.evaluators.deployment.documents import read_document
from bitfront.evaluators.deployment.facts import metadata_of
from bitfront.evaluators.deployment.graph.integer_model import golden_graph
from bitfront.evaluators.deployment.graph.model import configuration_graph
from bitfront.evaluators.deployment.graph.operands import OPENVINO, Dialect
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.graph.writer import METADATA_KEY
from bitfront.evaluators.deployment.runtimes.openvino import DYNAMIC_QUANTIZATION, read_model
from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.models.sites import LAYER_INPUTS
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig, UserError, number_format

CONSTANTS = ".bin"
_INFO = [METADATA_KEY, "document"]


def onnx_bytes(
    parts: GraphParts, config: BitConfig, dialect: Dialect, document: Mapping[str, Any] | None
) -> bytes:
    """A configuration as the content of an ONNX file.

    Args:
        parts: The prepared model's numbers.
        config: The configuration.
        dialect: The runtime that the file is written for.
        document: The bit config document that it carries, with plain facts beside it; None for neither.

    Raises:
        UserError: The model is too large for one ONNX file.
    """
    text = None if document is None else _written(document)
    return _content(configuration_graph(parts, config, dialect, text), document)


def golden_bytes(prepared: PreparedModel, config: BitConfig, document: Mapping[str, Any]) -> bytes:
    """A configuration of scheme ``fq-vit`` as the content of an ONNX file; see :func:`golden_graph`.

    Args:
        prepared: The model, with its codes.
        config: The configuration.
        document: The bit config document that it carries, with plain facts beside it.

    Raises:
        UserError: The model is too large for one ONNX file.
    """
    return _content(golden_graph(prepared, config, _written(document)), document)


def _content(model: onnx.ModelProto, document: Mapping[str, Any] | None) -> bytes:
    """A model as bytes, with the plain facts of a document in its metadata."""
    facts = {} if document is None else metadata_of(document)
    for key, value in facts.items():
        model.metadata_props.add(key=f"{METADATA_KEY}.{key}", value=value)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def carried(document: Mapping[str, Any]) -> list[str]:
    """The texts that a file carries: the document, and the plain facts beside it."""
    return [_written(document), *metadata_of(document).values()]


def _written(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


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
    if _is_elsewhere(model):
        raise UserError(f"{path} takes tensors from other files; expected one that bitfront export wrote")
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    return read_document(path, texts[0] if texts else None)


def _is_elsewhere(message: Any) -> bool:
    """Whether a tensor within a message, however deep, is kept in another file."""
    if isinstance(message, onnx.TensorProto) and message.data_location == onnx.TensorProto.EXTERNAL:
        return True
    parts = (value for field, value in message.ListFields() if field.message_type is not None)
    return any(
        _is_elsewhere(part) for value in parts for part in ([value] if isinstance(value, Message) else value)
    )


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
    # It would keep what an ONNX file carries under another name.
    content = onnx_bytes(parts, config, OPENVINO, None)
    return save_openvino(path, content, document, keep_floats=_multiplies_stored_integers(config))


def _multiplies_stored_integers(config: BitConfig) -> bool:
    """Whether some layer multiplies floats with weights that are stored as integers."""
    return any(
        number_format(encoder.bits("activations", layer)).floating
        and not number_format(encoder.bits("weights", layer)).floating
        for encoder in config.encoders
        for layer in LAYER_INPUTS
    )


def save_openvino(
    path: Path, graph: bytes, document: Mapping[str, Any] | None, *, keep_floats: bool = False
) -> tuple[Path, Path]:
    """Writes the content of an ONNX file as OpenVINO IR.

    Args:
        path: As of :func:`write_openvino`.
        graph: The ONNX file.
        document: As of :func:`write_openvino`; none for None.
        keep_floats: Whether the file asks OpenVINO not to round floats that are multiplied with stored
            integers to codes of its own.

    Raises:
        UserError: OpenVINO is not installed.
    """
    runtime_named("openvino")
    import openvino

    model = openvino.Core().read_model(graph)
    compact(model)
    if document is not None:
        model.set_rt_info(_written(document), _INFO)
        for key, value in metadata_of(document).items():
            model.set_rt_info(value, [METADATA_KEY, key])
    if keep_floats:
        model.set_rt_info("0", ["runtime_options", DYNAMIC_QUANTIZATION])
    openvino.save_model(model, path, compress_to_fp16=False)
    without_indentation(path)
    return path, path.with_suffix(CONSTANTS)


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
