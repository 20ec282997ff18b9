"""Baselines of other families, such as convolutional networks, in float32 and INT8."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bitfront.evaluators.deployment.runtimes.registry import runtime_is_installed
from bitfront.evaluators.latency.bench.entry import FLOAT32, INT8, TORCH, Candidate, Label, graph_candidate
from bitfront.evaluators.latency.bench.torch_entries import TorchEntry, baseline_module, save_weights
from bitfront.spaces import BitfrontError
from bitfront.spaces.errors import one_line

OPSET = 17
CALIBRATION_BATCHES, CALIBRATION_BATCH = 2, 2
# How far random weights are moved so that no two tensors are equal.
_APART = 0.01
Shape = tuple[int, ...]
FloatImages = NDArray[np.float32]


def set_apart(module: nn.Module) -> None:
    """Makes all tensors of a fresh model differ.

    An exporter writes equal ones, such as biases of zeros, but once; a quantizer then no longer takes them
    for constants, and leaves their convolutions in float.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(_APART * torch.rand(tensor.shape, generator=generator))


def export_float(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Writes a model as an ONNX graph with a dynamic batch.

    Raises:
        BitfrontError: torch cannot export it.
    """
    axes = {"images": {0: "batch"}, "logits": {0: "batch"}}
    try:
        # The exporter by tracing needs no further package, unlike the one that replaces it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (torch.zeros(2, *shape),),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
                dynamic_axes=axes,
            )
    except Exception as error:  # whatever a model's forward does may be beyond the exporter
        raise BitfrontError(f"torch cannot export it to ONNX ({_first_line(error)})") from error


def noise(shape: tuple[int, ...]) -> list[FloatImages]:
    """Batches to calibrate on where ranges do not matter: they change no time."""
    generator, size = np.random.default_rng(0), (CALIBRATION_BATCH, *shape)
    return [generator.standard_normal(size, dtype=np.float32) for _ in range(CALIBRATION_BATCHES)]


def quantize(path: Path, quantized: Path, calibrating: Iterable[FloatImages]) -> None:
    """Writes the INT8 graph of a float graph: unsigned activations, signed weights by channel.

    Both runtimes run their 8-bit kernels on such graphs.

    Args:
        path: The float graph.
        quantized: Where the other one goes.
        calibrating: Batches ``[n, channels, height, width]``, whose smallest and largest values are the
            ranges of activations.

    Raises:
        BitfrontError: ONNX Runtime cannot quantize it, or is not installed.
    """
    if not runtime_is_installed("onnxruntime"):
        raise BitfrontError("onnxruntime, which quantizes it, is not installed")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # without types
        def __init__(self) -> None:
            self._batches = iter(calibrating)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"images": batch}

    try:
        with _quiet():
            quantize_static(
                str(path),
                str(quantized),
                Batches(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
    except Exception as error:  # its exceptions have no common base
        raise BitfrontError(f"onnxruntime cannot quantize it ({_first_line(error)})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps advice of the quantizer, which it gives to the root logger, from the user's screen."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    handlers = list(root.handlers)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def baseline_candidates(
    name: str, shape: Shape, runtimes: Sequence[str], folder: Path, notes: list[str]
) -> list[Candidate]:
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
    found, module = NetworkFiles(name, shape, folder), _module(name, shape)
    graphs = any(runtime != TORCH for runtime in runtimes)
    if TORCH in runtimes:
        save_weights(module, found.weights)
    if graphs:
        export_float(module, shape, found.whole)
        try:
            quantize(found.whole, found.quantized, noise(shape))
        except BitfrontError as error:
            notes.append(f"baseline {name} has no INT8: {error}")
    return found.candidates(runtimes)


@dataclass(frozen=True)
class NetworkFiles:
    """The files of a network that bitfront does not quantize: weights, and graphs in float32 and INT8.

    Attributes:
        name: Timm's name of the model.
        shape: Of one image.
        folder: Where the files are.
        classes: Of its head; None for as many as timm gives it.
    """

    name: str
    shape: Shape
    folder: Path
    classes: int | None = None

    @property
    def weights(self) -> Path:
        """For torch."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def whole(self) -> Path:
        """The graph in float32."""
        return self.folder / f"{self.name}.onnx"

    @property
    def quantized(self) -> Path:
        """The graph in INT8, which is not there where the network cannot be quantized."""
        return self.folder / f"{self.name}-int8.onnx"

    def candidates(self, runtimes: Sequence[str]) -> list[Candidate]:
        """What can be timed of these files in some runtimes."""
        found = []
        if TORCH in runtimes:
            entry = TorchEntry(
                self.weights, self.name, "float32", self.shape, baseline=True, classes=self.classes
            )
            label = Label(self.name, FLOAT32, TORCH, "float32", baseline=True)
            found.append(Candidate(label, entry, self.weights.stat().st_size))
        graphs = [runtime for runtime in runtimes if runtime != TORCH]
        for runtime in graphs:
            label = Label(self.name, FLOAT32, runtime, "float32", baseline=True)
            found.append(graph_candidate(label, self.whole, self.shape))
        for runtime in graphs if self.quantized.exists() else ():
            label = Label(self.name, INT8, runtime, "quantized", baseline=True)
            found.append(graph_candidate(label, self.quantized, self.shape))
        return found


def _module(name: str, shape: Shape) -> nn.Module:
    try:
        module = baseline_module(name, shape)
        set_apart(module)
        with torch.inference_mode():
            module(torch.zeros(1, *shape))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, shape))
        raise BitfrontError(f"it takes no images of {size} ({one_line(error, 120)})") from error
    return module
