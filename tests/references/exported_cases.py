"""Exported files made wrong on purpose."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

SIDECAR = ".verification.json"


def copied(path: Path, folder: Path, sidecar: bool = False) -> Path:
    """A file in another folder, with what belongs to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (path.name, path.with_suffix(".bin").name, *([path.name + SIDECAR] if sidecar else [])):
        if (path.parent / name).exists():
            shutil.copy(path.parent / name, folder / name)
    return folder / path.name


def changed(path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """An ONNX file, changed in place."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


def scale_classifier(model: onnx.ModelProto, factors: np.ndarray | float) -> None:
    """Multiplies the scales of the classifier's weights, of each class or of all."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    [node] = [node for node in model.graph.node if node.input[0] == "head.0.weight"]
    scales = stored[node.input[1]]
    values = (numpy_helper.to_array(scales) * factors).astype(np.float32)
    scales.CopyFrom(numpy_helper.from_array(values, scales.name))
