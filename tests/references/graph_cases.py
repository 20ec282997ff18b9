"""Deployable graphs of small models, run in a runtime on the evaluator's own streams and images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import quantized_cases
import torch
from quantized_cases import Bits, config_of
from quantized_cases import case as case

from bitfront.evaluators.deployment.graph.model import configuration_graph, encoder_graph
from bitfront.evaluators.deployment.graph.operands import Dialect
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.deployment.runtimes.runtime import Session
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantized.model import QuantizedModel
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig

SCHEME = "deploy"
IMAGES = 16
# Two dialects in two runtimes: any runtime computes the numbers of any dialect.
RUNTIMES = ("onnxruntime", "openvino")
DIALECT_NAMES = ("onnxruntime", "openvino")


prepared = functools.partial(quantized_cases.prepared, SCHEME)
PORTABLE = PortableKernels(torch.device("cpu"))


def bits_of(model: PreparedModel, bits: Bits) -> BitConfig:
    """A configuration of a prepared model."""
    return config_of(model.blueprint, SCHEME, bits)


def loaded(graph: onnx.ModelProto, folder: Path, runtime: str) -> Session:
    """A graph in a runtime."""
    path = folder / "graph.onnx"
    onnx.save(graph, path)
    return runtime_named(runtime).load(path)


def model_session(
    model: PreparedModel, config: BitConfig, dialect: Dialect, runtime: str, folder: Path
) -> Session:
    """A whole model in a runtime."""
    return loaded(configuration_graph(GraphParts.of(model), config, dialect), folder, runtime)


@dataclass(frozen=True)
class Step:
    """What one encoder makes of a stream, by the evaluator and by something else.

    Attributes:
        entering: The stream before it, float32 ``[images, tokens, channels]``.
        wanted: Behind it, by the evaluator.
        got: Behind it, by what is compared.
    """

    entering: torch.Tensor
    wanted: torch.Tensor
    got: torch.Tensor

    @property
    def deviation(self) -> float:
        """Standard deviation of the difference, over that of what the encoder adds to the stream."""
        return float((self.got - self.wanted).std() / (self.wanted - self.entering).std())

    @property
    def flipped(self) -> float:
        """Share of the tokens where a code was rounded to the other side: the others differ by less."""
        unit = (self.wanted - self.entering).std()
        return float(((self.got - self.wanted).abs().amax(-1) > 1e-4 * unit).float().mean())


@torch.inference_mode()
def streams(model: PreparedModel, config: BitConfig, images: torch.Tensor) -> list[torch.Tensor]:
    """The evaluator's streams before each encoder, ``[images, tokens, channels]``."""
    seen: dict[str, torch.Tensor] = {}
    model.assemble(config)(images, lambda site, value: seen.__setitem__(site, value.clone()))
    blueprint = model.blueprint
    return [
        seen[blueprint.entering(index)].view(len(images), encoder.tokens, encoder.channels)
        for index, encoder in enumerate(blueprint.encoders)
    ]


@torch.inference_mode()
def evaluated(model: QuantizedModel, index: int, x: torch.Tensor) -> torch.Tensor:
    """The stream behind an encoder of the evaluator's."""
    encoder, rows = model.encoders[index], x.flatten(0, 1)
    return encoder(rows.clone(), encoder.norm1(rows), len(x), None)[0].view(x.shape)


def steps(
    model: PreparedModel,
    config: BitConfig,
    dialect: Dialect,
    runtime: str,
    folder: Path,
    images: torch.Tensor,
    indices: Sequence[int] | None = None,
) -> list[Step]:
    """Every encoder, one by one, on the evaluator's streams."""
    parts, assembled, found = GraphParts.of(model), model.assemble(config), []
    entering = streams(model, config, images)
    for index in range(len(entering)) if indices is None else indices:
        session = loaded(encoder_graph(parts, config, dialect, [index]), folder, runtime)
        x = entering[index]
        found.append(Step(x, evaluated(assembled, index, x), torch.from_numpy(session(x.numpy()))))
    return found
