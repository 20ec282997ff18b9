"""Another machine: latencies of one that is slower, and ONNX Runtime as it is without its optimizer."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from bitfront.evaluators.deployment.runtimes.runtime import (
    FloatPrecision,
    Images,
    KernelReport,
    Product,
    check_file,
)
from bitfront.evaluators.latency.source import LatencySource, latency_source
from bitfront.evaluators.latency.table import LatencyTable
from bitfront.evaluators.latency.timed_runtime import Subject
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.spaces import UserError


class Scaled:
    """Times measured here, multiplied.

    Args:
        factor: How many times as slow the other machine is.
        here: What measures.
    """

    measured = False  # whole models are not timed on the other machine
    batch = None

    def __init__(self, factor: float, here: LatencySource) -> None:
        self._factor, self._here = factor, here
        self.timer = here.timer

    def notes(self, widths: Iterable[int]) -> tuple[str, ...]:
        """That they are no measurements of that machine."""
        return (f"latencies are {self._factor:g} times those of this machine", *self._here.notes(widths))

    def table(self, subject: Subject, batch: int, progress: ShareDone = unreported) -> LatencyTable:
        """Measures, and multiplies every time."""
        table = self._here.table(subject, batch, progress)

        def scaled(entry):  # type: ignore[no-untyped-def]
            return dataclasses.replace(entry, milliseconds=self._factor * entry.milliseconds)

        return dataclasses.replace(
            table,
            encoders={key: scaled(entry) for key, entry in table.encoders.items()},
            rest=scaled(table.rest),
            float_model=scaled(table.float_model),
            source=f"scaled:{self._factor:g} of {table.source} here",
        )


def scaled(factor: str, scheme: str) -> Scaled:
    """The source that ``--latency scaled:FACTOR`` names."""
    try:
        value = float(factor)
    except ValueError:
        value = 0.0
    if not value > 0.0:
        raise UserError(f"--latency scaled:{factor}: give how many times as slow the machine is, such as 2.5")
    return Scaled(value, latency_source("measured", scheme))


class PlainSession:
    """A file that ONNX Runtime executes operator by operator, as it was written."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._path = path

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """Logits of normalised images."""
        (found,) = self._session.run(None, {self._session.get_inputs()[0].name: images})
        return np.asarray(found, dtype=np.float32)

    def kernels(self) -> KernelReport:
        """The matrix products of the file; codes are multiplied as floats, since nothing fuses them."""
        nodes = onnx.load(self._path, load_external_data=False).graph.node
        counts = Counter(node.op_type for node in nodes if node.op_type in ("MatMul", "Gemm", "Conv"))
        return KernelReport(tuple(Product(kernel, False, count) for kernel, count in counts.items()))


class PlainOnnxRuntime:
    """ONNX Runtime without its optimizer."""

    name = "onnxruntime-plain"
    version = onnxruntime.__version__
    suffixes: tuple[str, ...] = (".onnx",)
    precisions: tuple[FloatPrecision, ...] = ("f32",)

    def load(
        self,
        path: Path,
        *,
        threads: int = 1,
        batch: int | None = None,  # noqa: ARG002 - shapes may stay open at no cost
        precision: FloatPrecision = "f32",  # noqa: ARG002 - there is only this one
    ) -> PlainSession:
        """Loads a file."""
        check_file(path, self.suffixes)
        return PlainSession(path, threads)
