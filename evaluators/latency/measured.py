"""Latency measured on this machine in torch with this package's integer kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from bitfront.evaluators.fq_vit import PreparedFqVit
from bitfront.evaluators.fq_vit.stages import LOG_BITS
from bitfront.evaluators.latency.table import Entry, LatencyTable, encoder_shape
from bitfront.evaluators.latency.timing import Contestant, TimingProtocol, time_interleaved
from bitfront.spaces import BitConfig, EncoderBits, Triple, triples

SOURCE = "measured:torch"
_FLOAT = "float model"
_REST = "rest"
Progress = Callable[[float], None]


def encoder_program(bits: Triple) -> tuple[bool, bool]:
    """What distinguishes the instructions an encoder runs: logarithmic attention, narrow activations.

    Weights of every width run the same int8 kernels on equally large operands. Narrow codes of the
    query-key-value and GELU outputs are clipped by an instruction of their own; all other clipping is part
    of a kernel. Precisions with equal programs share one measurement, so that no noise between them can pass
    for a difference.
    """
    _, activations, attention = bits
    return attention <= LOG_BITS, activations < 8


def sample_images(prepared: PreparedFqVit, batch: int) -> torch.Tensor:
    """Random images of the model's input shape; integer kernels take equal time on any values."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, *prepared.blueprint.image_shape, generator=generator)


def measure_table(
    prepared: PreparedFqVit,
    module: nn.Module,
    batch: int,
    protocol: TimingProtocol | None = None,
    progress: Progress | None = None,
) -> LatencyTable:
    """Times every distinct encoder shape at every precision, the rest and the float model, interleaved.

    Args:
        prepared: The quantized model.
        module: The float model, run eagerly.
        batch: Images of a batch.
        protocol: How often each is run.
        progress: Called with the share that is done.
    """
    blueprint = prepared.blueprint
    images = sample_images(prepared, batch)
    contestants: dict[str, Contestant] = {
        _FLOAT: lambda: module(images),
        _REST: lambda: prepared.readout(prepared.embedding.residual(images), batch),
    }
    names: dict[tuple[str, Triple], str] = {}
    for index, encoder in enumerate(blueprint.encoders):
        shape = encoder_shape(blueprint, encoder)
        for triple in triples(prepared.widths):
            name = f"{shape} {encoder_program(triple)}"
            names.setdefault((shape, triple), name)
            if name not in contestants:
                contestants[name] = _encoder_run(prepared, index, triple, images)
    with torch.inference_mode():
        times = time_interleaved(contestants, protocol, progress)
    entries = {key: times[name] for key, name in names.items()}
    return LatencyTable(entries, times[_REST], times[_FLOAT], batch, SOURCE)


def _encoder_run(prepared: PreparedFqVit, index: int, bits: Triple, images: torch.Tensor) -> Contestant:
    encoder = prepared.encoder(EncoderBits(index, prepared.blueprint.encoders[index].name, *bits))
    batch = len(images)
    x, normed = prepared.embedding(images, encoder.norm1)
    return lambda: encoder(x, normed, batch, encoder.norm1)


def measure_models(
    prepared: PreparedFqVit,
    module: nn.Module,
    configs: Sequence[BitConfig],
    batch: int,
    protocol: TimingProtocol | None = None,
    progress: Progress | None = None,
) -> tuple[Entry, list[Entry]]:
    """Times whole models, interleaved: the float model and each configuration.

    Returns:
        The float model's time, and the configurations' in order.
    """
    images = sample_images(prepared, batch)
    contestants: dict[str, Contestant] = {_FLOAT: lambda: module(images)}
    for position, config in enumerate(configs):
        contestants[str(position)] = _model_run(prepared, config, images)
    with torch.inference_mode():
        times = time_interleaved(contestants, protocol, progress)
    return times[_FLOAT], [times[str(position)] for position in range(len(configs))]


def _model_run(prepared: PreparedFqVit, config: BitConfig, images: torch.Tensor) -> Contestant:
    model = prepared.assemble(config)
    return lambda: model(images)
