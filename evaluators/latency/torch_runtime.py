"""Timing in torch with this package's integer kernels."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch

from bitfront.evaluators.context.machine import cpu_name
from bitfront.evaluators.context.throughput import torch_threads
from bitfront.evaluators.latency.timed_runtime import Subject, TimedRun
from bitfront.evaluators.models.sites import is_residual
from bitfront.evaluators.preparation.log_base import LOG_BITS
from bitfront.evaluators.quantized.kernels.attention_plan import BYTE_BITS
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig, EncoderBits, Triple, number_format
from bitfront.spaces.precision import MAX_BITS


class TorchRuntime:
    """The runtime that evaluates; see :class:`~bitfront.evaluators.latency.timed_runtime.TimedRuntime`.

    Images are random: integer kernels take equal time on any values. On a GPU a run ends when its last kernel
    has.
    """

    source = "measured:torch"
    needs_codes = False
    models_at_once = None
    row = 1

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        # Of the model and batch asked for last: the streams between encoders take a whole run.
        self._streams_of: tuple[Subject, int, dict[str, torch.Tensor]] | None = None

    def machine(self, subject: Subject) -> str:
        """The processor's name, or the GPU's."""
        device = subject.prepared.kernels.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()

    def program(self, bits: Triple) -> Hashable:
        """Bytes of logarithmic codes, and whether activations are narrow; or what is float beside that.

        Logarithmic attention of up to 3 bits is multiplied as one byte, wider one as two. Weights of every
        width run the same int8 kernels on equally large operands. Narrow codes of the query-key-value and
        GELU outputs are clipped by an instruction of their own; all other clipping is part of a kernel.
        Precisions with equal programs share one measurement, so that no noise between them can pass for a
        difference.
        """
        weights, inputs, matrix = map(number_format, bits)
        logarithmic_bytes = 0 if matrix.bits > LOG_BITS else 1 if 1 << matrix.bits <= BYTE_BITS else 2
        narrow = inputs.bits < MAX_BITS
        # Zero points of 8 bits are taken back in a pass of its own.
        moved = weights.zero_points and weights.bits == MAX_BITS
        floats = weights.floating, inputs.floating and inputs.name, matrix.floating and matrix.name
        return (
            (logarithmic_bytes, narrow, moved, *floats)
            if moved or any(floats)
            else (logarithmic_bytes, narrow)
        )

    def float_model(self, subject: Subject, batch: int) -> TimedRun:
        """The float module, run eagerly."""
        images = sample_images(subject.prepared, batch)
        return self._timed(subject, lambda: subject.module(images))

    def model(self, subject: Subject, config: BitConfig, batch: int) -> TimedRun:
        """The assembled model."""
        model, images = subject.prepared.assemble(config), sample_images(subject.prepared, batch)
        return self._timed(subject, lambda: model(images))

    def encoder(self, subject: Subject, index: int, bits: Triple, batch: int) -> TimedRun:
        """One encoder with the LayerNorm that follows it, on the stream that reaches it."""
        prepared, streams = subject.prepared, self._streams(subject, batch)
        encoder = prepared.encoder(EncoderBits(index, prepared.blueprint.encoders[index].name, *bits))
        x = streams[prepared.blueprint.entering(index)]
        normed = encoder.norm1(x)
        return self._timed(subject, lambda: encoder(x, normed, batch, encoder.norm1))

    def rest(self, subject: Subject, batch: int) -> TimedRun:
        """Embedding, patch mergings and readout."""
        prepared, streams = subject.prepared, self._streams(subject, batch)
        encoders, images = prepared.blueprint.encoders, sample_images(prepared, batch)

        def run() -> torch.Tensor:
            prepared.embedding(images)
            for index, merge in prepared.merges.items():
                merge(streams[f"{encoders[index - 1].name}.residual2"], batch)
            return prepared.readout(streams[f"{encoders[-1].name}.residual2"], batch)

        return self._timed(subject, run)

    def _timed(self, subject: Subject, run: TimedRun) -> TimedRun:
        """A run on the runtime's threads that ends when its last kernel has.

        Torch's number of threads is set for it and then as it was: the rest of the process computes on one.
        """
        awaited = _awaited(subject, run)
        if self.threads == 1:
            return awaited

        def on_threads() -> object:
            with torch_threads(self.threads):
                return awaited()

        return on_threads

    def _streams(self, subject: Subject, batch: int) -> dict[str, torch.Tensor]:
        """The residual stream at every site, of the model at its greatest widths."""
        if self._streams_of is not None and self._streams_of[:2] == (subject, batch):
            return self._streams_of[2]
        prepared, found = subject.prepared, {}
        model = prepared.assemble(subject.widest)

        def tap(site: str, value: torch.Tensor) -> None:
            if is_residual(site):
                found[site] = value

        model(sample_images(prepared, batch), tap)
        self._streams_of = subject, batch, found
        return found


def sample_images(prepared: PreparedModel, batch: int) -> torch.Tensor:
    """Random images of the model's input shape."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, *prepared.blueprint.image_shape, generator=generator)
    return images.to(prepared.kernels.device)


def _awaited(subject: Subject, run: Callable[[], object]) -> TimedRun:
    device = subject.prepared.kernels.device
    if device.type != "cuda":
        return run

    def awaited() -> object:
        result = run()
        torch.cuda.synchronize(device)
        return result

    return awaited
