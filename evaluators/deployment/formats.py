"""Formats of files that compute: how each is written, what it says of itself, and what runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from bitfront.evaluators.deployment.graph.operands import DIALECTS
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.graph_files import (
    onnx_bytes,
    onnx_document,
    openvino_document,
    write_openvino,
)
from bitfront.evaluators.deployment.registry import BITFRONT, FORMATS, ONNX, OPENVINO, PACKED, check_suffix
from bitfront.evaluators.deployment.runtimes.registry import (
    runtime_named,
)
from bitfront.evaluators.deployment.runtimes.runtime import (
    FloatPrecision,
    Images,
    KernelReport,
)
from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.packed.file import read_packed, write_packed
from bitfront.evaluators.preparation.recipes import Recipe
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig


@dataclass(frozen=True)
class Subject:
    """What is written: one configuration of a prepared model.

    Attributes:
        prepared: The model, with its codes.
        config: The configuration.
        recipe: What the model was prepared with.
        document: The bit config document that the file carries.
    """

    prepared: PreparedModel
    config: BitConfig
    recipe: Recipe
    document: Mapping[str, Any]


def write_file(subject: Subject, kind: str, path: Path, runtime: str) -> list[Path]:
    """Writes a file and whatever has to stand beside it.

    Args:
        subject: What is written.
        kind: One of :data:`~bitfront.evaluators.deployment.registry.FORMATS`.
        path: The file, in a folder that is there.
        runtime: Whose fast paths an ONNX file is written for.

    Returns:
        The files, the one that is loaded first.

    Raises:
        UserError: The scheme cannot be run by the runtime, or a library is missing.
    """
    if kind == PACKED:
        write_packed(path, subject.prepared, subject.config, subject.recipe, subject.document)
        return [path]
    parts = GraphParts.of(subject.prepared)
    if kind == OPENVINO:
        return list(write_openvino(path, parts, subject.config, subject.document))
    write_atomically(path, onnx_bytes(parts, subject.config, DIALECTS[runtime], subject.document))
    return [path]


def file_document(path: Path) -> dict[str, Any]:
    """The bit config document that a file carries, whatever its format.

    Raises:
        UserError: The file cannot be read, is foreign or damaged.
    """
    check_suffix(path)
    if path.suffix == FORMATS[PACKED].suffix:
        return dict(read_packed(path).document)
    return onnx_document(path) if path.suffix == FORMATS[ONNX].suffix else openvino_document(path)


class PackedSession:
    """A packed file, run by this package; see :class:`Session`."""

    def __init__(self, path: Path) -> None:
        self._model = read_packed(path).assemble()

    def __call__(self, images: Images) -> NDArray[Any]:
        """Logits of images."""
        found: NDArray[Any] = self._model(torch.from_numpy(images)).numpy()
        return found

    def kernels(self) -> KernelReport:
        """Nothing to report: these are the evaluator's own kernels."""
        return KernelReport(())


def load_file(path: Path, runtime: str, *, threads: int, precision: FloatPrecision = "f32") -> Any:
    """A session of a file in a runtime.

    Raises:
        UserError: The file cannot be loaded, or the runtime is missing.
    """
    if runtime == BITFRONT:
        return PackedSession(path)
    return runtime_named(runtime).load(path, threads=threads, precision=precision)
