"""What is timed, and the runtimes that it can be timed in."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from bitfront.evaluators.latency.timing import TimedRun
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig, Triple


@dataclass(frozen=True, eq=False)
class Subject:
    """A model whose latency is asked for.

    Attributes:
        prepared: The quantized model at every precision.
        module: The float model.
    """

    prepared: PreparedModel
    module: nn.Module

    def uniform(self, bits: Triple) -> BitConfig:
        """The configuration with the same bits in every encoder."""
        blueprint = self.prepared.blueprint
        return BitConfig.uniform(blueprint.name, self.prepared.scheme, blueprint.encoder_layers(), bits)

    @property
    def widest(self) -> BitConfig:
        """The configuration of its greatest width throughout."""
        bits = max(self.prepared.widths)
        return self.uniform((bits, bits, bits))


class TimedRuntime(Protocol):
    """Runs models and their parts so that they can be timed: each timed run is one batch."""

    @property
    def source(self) -> str:
        """The name of its times, such as ``measured:torch``."""

    @property
    def needs_codes(self) -> bool:
        """Whether prepared models must have kept their codes."""

    @property
    def models_at_once(self) -> int | None:
        """How many whole models may lie in memory side by side; None where they share their weights."""

    @property
    def row(self) -> int:
        """How many equal encoders a run of :meth:`encoder` goes through."""

    def machine(self, subject: Subject) -> str:
        """What it runs on, such as the processor's name."""

    def program(self, bits: Triple) -> Hashable:
        """What distinguishes the instructions that an encoder runs: equal ones share a measurement."""

    def float_model(self, subject: Subject, batch: int) -> TimedRun:
        """The whole float model."""

    def model(self, subject: Subject, config: BitConfig, batch: int) -> TimedRun:
        """The whole model of a configuration."""

    def encoder(self, subject: Subject, index: int, bits: Triple, batch: int) -> TimedRun:
        """A row of equal encoders."""

    def rest(self, subject: Subject, batch: int) -> TimedRun:
        """Everything outside the encoders, quantized."""
