"""A graph's file in a runtime: what a fresh process loads without torch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.deployment.runtimes.runtime import FloatPrecision
from bitfront.evaluators.latency.bench.entry import Candidate, Label, Loaded, Products


@dataclass(frozen=True)
class GraphEntry:
    """See :class:`~bitfront.evaluators.latency.bench.entry.BenchEntry`.

    Attributes:
        path: The ONNX file.
        runtime: What executes it.
        precision: Of what is not quantized.
        shape: Of one image.
    """

    path: Path
    runtime: str
    precision: FloatPrecision
    shape: tuple[int, ...]

    def import_libraries(self) -> None:
        """See :class:`~bitfront.evaluators.latency.bench.entry.BenchEntry`."""
        runtime_named(self.runtime)
        importlib.import_module(self.runtime)

    def load(self, batch: int) -> Loaded:
        """See :class:`~bitfront.evaluators.latency.bench.entry.BenchEntry`."""
        runtime = runtime_named(self.runtime)
        session = runtime.load(self.path, threads=1, batch=batch, precision=self.precision)
        images = np.random.default_rng(0).standard_normal((batch, *self.shape), dtype=np.float32)

        def products() -> Products:
            report = session.kernels()
            return Products(report.total, report.on_integers)

        return Loaded(lambda: session(images), products)


def graph_candidate(label: Label, path: Path, shape: tuple[int, ...]) -> Candidate:
    """The candidate of a graph's file, in the runtime and precision of its label."""
    return Candidate(label, GraphEntry(path, label.runtime, label.rest, shape), path.stat().st_size)
