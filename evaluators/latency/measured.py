"""Latency measured on this machine in torch with this package's integer kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from bitfront.evaluators.kernels.attention_plan import BYTE_BITS
from bitfront.evaluators.latency.table import Entry, LatencyTable, encoder_shape
from bitfront.evaluators.latency.timing import Contestant, TimingProtocol, time_interleaved
from bitfront.evaluators.quantized import PreparedModel
from bitfront.evaluators.quantized.attention import LOG_BITS
from bitfront.evaluators.site_roles import is_residual
from bitfront.spaces import BitConfig, EncoderBits, Triple, triples

SOURCE = "measured:torch"
_FLOAT = "float model"
_REST = "rest"
Progress = Callable[[float], None]


def encoder_program(bits: Triple) -> tuple[int, bool]:
    """What distinguishes the instructions an encoder runs: bytes of logarithmic codes, narrow activations.

    Logarithmic attention of up to 3 bits is multiplied as one byte, wider one as two.

    Weights of every width run the same int8 kernels on equally large operands. Narrow codes of the
    query-key-value and GELU outputs are clipped by an instruction of their own; all other clipping is part
    of a kernel. Precisions with equal programs share one measurement, so that no noise between them can pass
    for a difference.
    """
    _, activations, attention = bits
    logarithmic_bytes = 0 if attention > LOG_BITS else 1 if 1 << attention <= BYTE_BITS else 2
    return logarithmic_bytes, activations < 8


def sample_images(prepared: PreparedModel, batch: int) -> torch.Tensor:
    """Random images of the model's input shape; integer kernels take equal time on any values."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, *prepared.blueprint.image_shape, generator=generator)
    return images.to(prepared.kernels.device)


def measure_table(
    prepared: PreparedModel,
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
    images = sample_images(prepared, batch)
    streams = _streams(prepared, images)
    contestants: dict[str, Contestant] = {
        _FLOAT: lambda: module(images),
        _REST: lambda: _run_rest(prepared, images, streams),
    }
    names: dict[tuple[str, Triple], str] = {}
    for index, encoder in enumerate(prepared.blueprint.encoders):
        shape = encoder_shape(encoder)
        for triple in triples(prepared.widths):
            name = f"{shape} {encoder_program(triple)}"
            names.setdefault((shape, triple), name)
            if name not in contestants:
                contestants[name] = _encoder_run(prepared, index, triple, streams, batch)
    times = _timed(prepared, contestants, protocol, progress)
    entries = {key: times[name] for key, name in names.items()}
    return LatencyTable(entries, times[_REST], times[_FLOAT], batch, SOURCE)


def _streams(prepared: PreparedModel, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The residual stream at every site, of the model at its greatest widths."""
    widest = max(prepared.widths)
    encoders = [
        EncoderBits(index, encoder.name, widest, widest, widest)
        for index, encoder in enumerate(prepared.blueprint.encoders)
    ]
    model = prepared.assemble(BitConfig(prepared.blueprint.name, prepared.scheme, tuple(encoders)))
    found: dict[str, torch.Tensor] = {}

    def tap(site: str, value: torch.Tensor) -> None:
        if is_residual(site):
            found[site] = value

    model(images, tap)
    return found


def _run_rest(
    prepared: PreparedModel, images: torch.Tensor, streams: dict[str, torch.Tensor]
) -> torch.Tensor:
    batch, encoders = len(images), prepared.blueprint.encoders
    prepared.embedding(images)
    for index, merge in prepared.merges.items():
        merge(streams[f"{encoders[index - 1].name}.residual2"], batch)
    return prepared.readout(streams[f"{encoders[-1].name}.residual2"], batch)


def _encoder_run(
    prepared: PreparedModel, index: int, bits: Triple, streams: dict[str, torch.Tensor], batch: int
) -> Contestant:
    encoder = prepared.encoder(EncoderBits(index, prepared.blueprint.encoders[index].name, *bits))
    x = streams[prepared.blueprint.entering(index)]
    normed = encoder.norm1(x)
    return lambda: encoder(x, normed, batch, encoder.norm1)


def _timed(
    prepared: PreparedModel,
    contestants: dict[str, Contestant],
    protocol: TimingProtocol | None,
    progress: Progress | None,
) -> dict[str, Entry]:
    """Times of the contestants; on a GPU each run ends when its last kernel has."""
    if prepared.kernels.device.type == "cuda":
        contestants = {name: _awaited(run, prepared.kernels.device) for name, run in contestants.items()}
    with torch.inference_mode():
        return time_interleaved(contestants, protocol, progress)


def _awaited(run: Contestant, device: torch.device) -> Contestant:
    def awaited() -> None:
        run()
        torch.cuda.synchronize(device)

    return awaited


def measure_models(
    prepared: PreparedModel,
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
    times = _timed(prepared, contestants, protocol, progress)
    return times[_FLOAT], [times[str(position)] for position in range(len(configs))]


def _model_run(prepared: PreparedModel, config: BitConfig, images: torch.Tensor) -> Contestant:
    model = prepared.assemble(config)
    return lambda: model(images)
