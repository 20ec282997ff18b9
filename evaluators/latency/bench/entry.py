"""A candidate of a benchmark: a file and how it is run, in this process or in a fresh one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.deployment.runtimes.runtime import FloatPrecision
from bitfront.spaces import Triple

FLOAT32, BFLOAT16, DYNAMIC_INT8, INT8 = "float32", "bfloat16", "dynamic INT8", "INT8"
TORCH = "torch"
Kind = Literal["float32", "bfloat16", "dynamic", "quantized"]


@dataclass(frozen=True)
class Label:
    """What a candidate is called.

    Attributes:
        model: The model's name.
        variant: How it computes: ``float32``, ``bfloat16``, ``dynamic INT8``, ``INT8``, a uniform
            configuration such as ``W8A8T8``, or the name of a configuration's file.
        runtime: What executes it.
        kind: Which of these that is.
        rest: Precision of what is not quantized.
        baseline: Whether it is another model, to compare with.
        bits: Of weights, activations and attention where they are the same in every encoder by request.
    """

    model: str
    variant: str
    runtime: str
    kind: Kind
    rest: FloatPrecision = "f32"
    baseline: bool = False
    bits: Triple | None = None

    @property
    def short(self) -> str:
        """The variant with all that tells it from others in the same runtime."""
        named = f"{self.model} {self.variant}" if self.baseline else self.variant
        return f"{named}, rest bf16" if self.kind == "quantized" and self.rest == "bf16" else named


@dataclass(frozen=True)
class Products:
    """Matrix products of one inference: linear layers, convolutions, and two for every attention.

    Attributes:
        total: All of them.
        on_integers: Those that are executed with integer operands.
    """

    total: int
    on_integers: int


@dataclass(frozen=True)
class Loaded:
    """A candidate that is ready to run.

    Attributes:
        run: Classifies one batch of random images.
        products: Finds out what one inference executes.
    """

    run: Callable[[], object]
    products: Callable[[], Products]


class BenchEntry(Protocol):
    """A file and how it is run; made of texts and numbers alone, so that another process can load it."""

    @property
    def path(self) -> Path:
        """The file."""

    def import_libraries(self) -> None:
        """Loads everything that any file of its kind needs."""

    def load(self, batch: int) -> Loaded:
        """Loads the file and makes a batch for it."""


@dataclass(frozen=True)
class Candidate:
    """An entry with its name and the size of what is kept of it.

    Attributes:
        label: Its name.
        entry: What runs.
        file_bytes: Bytes of the saved model.
    """

    label: Label
    entry: BenchEntry
    file_bytes: int


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
