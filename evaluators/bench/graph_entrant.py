"""A graph's file in one of the runtimes."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitfront.evaluators.bench.entrant import Contestant, Label, Loaded, Products
from bitfront.evaluators.runtimes.runtime import FloatPrecision, runtime_named


@dataclass(frozen=True)
class GraphEntrant:
    """See :class:`~bitfront.evaluators.bench.entrant.Entrant`.

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
        """See :class:`~bitfront.evaluators.bench.entrant.Entrant`."""
        runtime_named(self.runtime)
        importlib.import_module(self.runtime)

    def load(self, batch: int) -> Loaded:
        """See :class:`~bitfront.evaluators.bench.entrant.Entrant`."""
        runtime = runtime_named(self.runtime)
        session = runtime.load(self.path, threads=1, batch=batch, precision=self.precision)
        images = np.random.default_rng(0).standard_normal((batch, *self.shape), dtype=np.float32)

        def products() -> Products:
            report = session.kernels()
            return Products(report.total, report.on_integers)

        return Loaded(lambda: session(images), products)


def graph_contestant(label: Label, path: Path, shape: tuple[int, ...]) -> Contestant:
    """The contestant of a graph's file, in the runtime and precision of its label."""
    return Contestant(label, GraphEntrant(path, label.runtime, label.rest, shape), path.stat().st_size)
