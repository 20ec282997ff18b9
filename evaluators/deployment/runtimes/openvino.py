"""OpenVINO on a CPU."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.deployment.runtimes.runtime import (
    FloatPrecision,
    Images,
    KernelReport,
    Product,
    Session,
    check_file,
    not_a_model,
    not_run,
)
from bitfront.spaces import BitfrontError, UserError

DEVICE = "CPU"
# A property of compilation: codes for groups of floats, 0 for none.
DYNAMIC_QUANTIZATION = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
_PRODUCTS = ("MatMul", "Convolution", "GroupConvolution")
# What executes one each, whatever it is called: with what follows it fused, it may go by that one's name.
_EXECUTED = ("FullyConnected", "MatMul", "Convolution")
# What executes both products of an attention, or none at all.
_FUSED = "Subgraph"
_INTEGERS = ("i8", "u8")
_BEGINNING = 256


class _OpenVinoSession:
    """See :class:`Session`; of a model before and after compilation."""

    def __init__(self, model: Any, compiled: Any) -> None:
        self._products = {op.get_friendly_name() for op in model.get_ops() if op.get_type_name() in _PRODUCTS}
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        # None where any length will do, as for the batch.
        shape = compiled.inputs[0].partial_shape
        self._lengths = tuple(length.get_length() if length.is_static else None for length in shape)

    def __call__(self, images: Images) -> NDArray[np.float32]:
        # OpenVINO itself classifies other images as none at all, without an error.
        if len(images.shape) != len(self._lengths) or any(
            length not in (None, given) for given, length in zip(images.shape, self._lengths, strict=True)
        ):
            reason = ValueError(f"their shape is {list(images.shape)}, the model takes {list(self._lengths)}")
            raise not_run(OpenVinoRuntime.name, reason)
        try:
            found = self._request.infer({0: images})[0]
        except RuntimeError as error:
            raise not_run(OpenVinoRuntime.name, error) from error
        # The request takes its output's memory again.
        return np.array(found, dtype=np.float32)

    def kernels(self) -> KernelReport:
        """The products in the graph that is executed."""
        counts: Counter[tuple[str, bool]] = Counter()
        for op in self._compiled.get_runtime_model().get_ordered_ops():
            info = op.get_rt_info()
            kind = _text(info, "layerType")
            # What quantization put behind a product bears its name and a path.
            layers = {name.partition("/")[0] for name in _text(info, "originalLayersNames").split(",")}
            fused = 2 if kind == _FUSED and layers & self._products else 0
            if count := 1 if kind in _EXECUTED else fused:
                # Of a product of floats with stored integers, the precision is that of what is stored.
                taken = op.get_input_element_type(0).get_type_name()
                integer = _text(info, "runtimePrecision").lower() in _INTEGERS and taken in _INTEGERS
                counts[f"{kind} {_text(info, 'primitiveType')}", integer] += count
        return KernelReport(
            tuple(Product(kernel, integer, count) for (kernel, integer), count in counts.most_common())
        )


def _text(info: Any, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""


def read_model(core: Any, path: Path) -> Any:
    """The model of a file, before compilation.

    Raises:
        UserError: The file is no model.
    """
    check_file(path, OpenVinoRuntime.suffixes)
    if path.suffix == ".xml":
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
        # OpenVINO would try every format that it knows on anything else, and complain of each.
        if b"<net" not in beginning:
            raise UserError(f"{path} is no OpenVINO model: export it again")
    try:
        return core.read_model(path)
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter of a message with bytes of the file
        raise not_a_model(path, OpenVinoRuntime.name, error) from error


class OpenVinoRuntime:
    """See :class:`Runtime`."""

    name = "openvino"
    suffixes: tuple[str, ...] = (".xml", ".onnx")
    precisions: tuple[FloatPrecision, ...] = ("f32", "bf16")

    def __init__(self) -> None:
        self.version = version("openvino")

    def load(
        self, path: Path, *, threads: int = 1, batch: int | None = None, precision: FloatPrecision = "f32"
    ) -> Session:
        """See :class:`Runtime`."""
        import openvino

        core = openvino.Core()
        model = read_model(core, path)
        try:
            if batch is not None:
                model.reshape([batch, *model.inputs[0].partial_shape[1:]])
            # Left to itself, OpenVINO computes in bfloat16 what is not quantized, where the CPU can, and
            # rounds the inputs of float products with stored integers to 8 bits of its own.
            settings = {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": precision,
                DYNAMIC_QUANTIZATION: "0",
            }
            compiled = core.compile_model(model, DEVICE, settings)
        except RuntimeError as error:
            reason = not_a_model(path, self.name, error)
            raise BitfrontError(f"openvino cannot compile {path}: {reason}") from error
        return _OpenVinoSession(model, compiled)
