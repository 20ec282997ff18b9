"""A runtime whose times are known, so that what is made of times can be tested without waiting for any."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from bitfront.evaluators.latency.table import Latency
from bitfront.evaluators.latency.timed_runtime import Subject, TimedRun
from bitfront.spaces import BitConfig, EncoderBits, Triple

REST_MS, FLOAT_MS = 3.0, 90.0


def encoder_ms(bits: EncoderBits) -> float:
    """Time of an encoder whose layers have equal widths; lower widths are quicker."""
    weights, activations = bits.bits("weights", "attn.qkv"), bits.bits("activations", "attn.qkv")
    return 0.1 * weights + 0.2 * activations + 0.05 * bits.attention


class AdditiveRuntime:
    """Runs return their milliseconds, for :func:`clock` to read; whole models are sums of their parts.

    Attributes:
        between_ms: What a whole model takes longer than its parts.
        threads: Of one inference; its times are the same on any number.
    """

    source = "measured:abacus"
    needs_codes = True
    models_at_once: int | None = 2
    row = 3
    between_ms = 0.0
    threads = 1

    def machine(self, subject: Subject) -> str:
        return "beads"

    def program(self, bits: Triple) -> Triple:
        return bits

    def float_model(self, subject: Subject, batch: int) -> TimedRun:
        return lambda: FLOAT_MS * batch

    def model(self, subject: Subject, config: BitConfig, batch: int) -> TimedRun:
        parts = REST_MS + sum(map(encoder_ms, config.encoders))
        return lambda: batch * (parts + self.between_ms)

    def encoder(self, subject: Subject, index: int, bits: Triple, batch: int) -> TimedRun:
        return lambda: self.row * batch * encoder_ms(EncoderBits(index, "", *bits))

    def rest(self, subject: Subject, batch: int) -> TimedRun:
        return lambda: REST_MS * batch


def clock(runs: Mapping[Hashable, TimedRun], *_: object) -> dict[Hashable, Latency]:
    """Stands in for ``time_interleaved``: the times that runs return, with a spread of 1 %."""
    return {name: Latency(float(run()), 1.0) for name, run in runs.items()}  # type: ignore[arg-type]
