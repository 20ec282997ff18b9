"""Timing in runtimes that execute graphs: OpenVINO and ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Hashable
from pathlib import Path

import numpy as np
import onnx

from bitfront.evaluators.context.machine import cpu_name
from bitfront.evaluators.deployment.graph.model import (
    configuration_graph,
    encoder_graph,
    float_graph,
    rest_graph,
)
from bitfront.evaluators.deployment.graph.operands import dialect_of
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.runtimes.runtime import Runtime
from bitfront.evaluators.latency.timed_runtime import Subject, TimedRun
from bitfront.evaluators.preparation.log_base import LOG_BITS
from bitfront.spaces import BitConfig, Triple, number_format
from bitfront.spaces.precision import MAX_BITS

# Whole models in memory side by side, each with weights of its own.
MODELS_AT_ONCE = 8
# Entering and leaving a graph takes a share of one encoder's time; a row of them meets it once.
ROW = 4


def graph_program(bits: Triple) -> Hashable:
    """Whether activations are narrow, and attention narrow or logarithmic: what adds operators.

    Weights of every width are 8-bit integers before the first run; those with zero points and floats run
    other operators, and floats of every format are float32 by then.
    """
    weights, inputs, matrix = map(number_format, bits)
    narrow = inputs.bits < MAX_BITS, matrix.bits < MAX_BITS, matrix.bits <= LOG_BITS
    others = weights.zero_points, weights.floating, inputs.floating, matrix.floating
    return (*narrow, *others) if any(others) else narrow


class GraphRuntime:
    """A runtime and its dialect; see :class:`~bitfront.evaluators.latency.timed_runtime.TimedRuntime`.

    Streams and images are random and weights merely rounded: integer kernels take equal time on any values.
    """

    needs_codes = False
    models_at_once = MODELS_AT_ONCE
    row = ROW

    def __init__(self, runtime: Runtime, threads: int = 1) -> None:
        self._runtime = runtime
        self.threads = threads
        self._dialect = dialect_of(runtime.name)
        self._parts_of: tuple[Subject, GraphParts] | None = None

    @property
    def source(self) -> str:
        """The name of its times."""
        return f"measured:{self._runtime.name}"

    def machine(self, subject: Subject) -> str:  # noqa: ARG002 - graphs run on the processor
        """The processor's name."""
        return cpu_name()

    def program(self, bits: Triple) -> Hashable:
        """See :func:`graph_program`."""
        return graph_program(bits)

    def float_model(self, subject: Subject, batch: int) -> TimedRun:
        """The whole float model as a graph, in float32."""
        return self._run(float_graph(subject.prepared.blueprint), batch)

    def model(self, subject: Subject, config: BitConfig, batch: int) -> TimedRun:
        """The whole model of a configuration."""
        return self._run(configuration_graph(self._parts(subject), config, self._dialect), batch)

    def encoder(self, subject: Subject, index: int, bits: Triple, batch: int) -> TimedRun:
        """A row of :data:`ROW` equal encoders."""
        parts, config = self._parts(subject), subject.uniform(bits)
        return self._run(encoder_graph(parts, config, self._dialect, [index] * ROW), batch)

    def rest(self, subject: Subject, batch: int) -> TimedRun:
        """Embedding, patch mergings and readout."""
        return self._run(rest_graph(self._parts(subject), subject.widest, self._dialect), batch)

    def _parts(self, subject: Subject) -> GraphParts:
        if self._parts_of is None or self._parts_of[0] is not subject:
            self._parts_of = subject, GraphParts.for_timing(subject.prepared)
        return self._parts_of[1]

    def _run(self, graph: onnx.ModelProto, batch: int) -> TimedRun:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(graph, path)
            session = self._runtime.load(path, threads=self.threads, batch=batch)
        shape = [dimension.dim_value for dimension in graph.graph.input[0].type.tensor_type.shape.dim[1:]]
        x = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
        return lambda: session(x)
