"""Contestants of baselines: models of other families, in float32 and INT8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from bitfront.evaluators.bench.convolutional import export_float, quantize, set_apart
from bitfront.evaluators.bench.entrant import FLOAT32, INT8, TORCH, Contestant, Label
from bitfront.evaluators.bench.graph_entrant import graph_contestant
from bitfront.evaluators.bench.torch_entrant import TorchEntrant, baseline_module, save_weights
from bitfront.spaces import BitfrontError

Shape = tuple[int, ...]


def baseline_contestants(
    name: str, shape: Shape, runtimes: Sequence[str], folder: Path, notes: list[str]
) -> list[Contestant]:
    """A baseline with random weights, in INT8 where a runtime takes graphs.

    Args:
        name: Timm's name of the model.
        shape: Of one image.
        runtimes: Those that take part.
        folder: Where the files go.
        notes: Is told what is missing.

    Raises:
        BitfrontError: The model does not take such images, or cannot be exported.
    """
    module = _module(name, shape)
    found = []
    if TORCH in runtimes:
        weights = folder / f"{name}.safetensors"
        save_weights(module, weights)
        entrant = TorchEntrant(weights, name, "float32", shape, baseline=True)
        label = Label(name, FLOAT32, TORCH, "float32", baseline=True)
        found.append(Contestant(label, entrant, weights.stat().st_size))
    graphs = [runtime for runtime in runtimes if runtime != TORCH]
    if not graphs:
        return found
    whole, quantized = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
    export_float(module, shape, whole)
    for runtime in graphs:
        label = Label(name, FLOAT32, runtime, "float32", baseline=True)
        found.append(graph_contestant(label, whole, shape))
    try:
        quantize(whole, shape, quantized)
    except BitfrontError as error:
        notes.append(f"baseline {name} has no INT8: {error}")
        return found
    for runtime in graphs:
        label = Label(name, INT8, runtime, "quantized", baseline=True)
        found.append(graph_contestant(label, quantized, shape))
    return found


def _module(name: str, shape: Shape) -> nn.Module:
    try:
        module = baseline_module(name, shape)
        set_apart(module)
        with torch.inference_mode():
            module(torch.zeros(1, *shape))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, shape))
        raise BitfrontError(f"it takes no images of {size} ({' '.join(str(error).split())[:120]})") from error
    return module
