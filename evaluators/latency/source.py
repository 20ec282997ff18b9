"""Latency sources by name: measured in a runtime, read from a table, or modelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from bitfront.evaluators.context.machine import cpu_name
from bitfront.evaluators.latency.hardware_profile import HardwareProfile, profile_named
from bitfront.evaluators.latency.measured import measure_table
from bitfront.evaluators.latency.named_table import measured_elsewhere, named_table, of_scheme
from bitfront.evaluators.latency.registry import (
    MEASURED,
    MODEL,
    TABLE,
    TIMED_RUNTIMES,
    TORCH,
    runtime_of_table,
    settled_threads,
    shipped_profiles,
    timed_runtime_named,
)
from bitfront.evaluators.latency.roofline import model_table
from bitfront.evaluators.latency.steadiness import steadiest, unsteadiness
from bitfront.evaluators.latency.table import LatencyTable
from bitfront.evaluators.latency.timed_runtime import Subject, TimedRuntime, TimingProtocol
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.spaces import FORMATS, Choices, FormatName, UserError
from bitfront.spaces.plugins import plugins

# Entry points of other packages.
PLUGINS = "bitfront.latency_sources"


class LatencySource(Protocol):
    """Provides the latency table of a quantized model."""

    @property
    def measured(self) -> bool:
        """Whether its times are measured here and now."""

    @property
    def batch(self) -> int | None:
        """The batch size that its times are for; None where any can be asked for."""

    @property
    def timer(self) -> TimedRuntime:
        """What whole models are timed in, on as many threads, to compare with its times."""

    def notes(self, formats: Iterable[FormatName]) -> tuple[str, ...]:
        """What must be known of its times in these formats, one line each."""

    def table(self, subject: Subject, batch: int, progress: ShareDone = unreported) -> LatencyTable:
        """The table; ``progress`` hears the share that is done."""


@dataclass(frozen=True)
class MeasuredSource:
    """``measured:RUNTIME``: this machine, now."""

    timer: TimedRuntime
    measured = True
    batch = None

    def notes(self, formats: Iterable[FormatName]) -> tuple[str, ...]:  # noqa: ARG002
        """Nothing."""
        return ()

    def table(self, subject: Subject, batch: int, progress: ShareDone = unreported) -> LatencyTable:
        """Measures for as long as the protocol's budget allows, and again where that was not steady."""

        def measured(protocol: TimingProtocol) -> LatencyTable:
            return measure_table(self.timer, subject, batch, protocol, progress)

        return steadiest(measured, unsteadiness, TimingProtocol())


@dataclass(frozen=True)
class TableSource:
    """``table:FILE``: times measured earlier or elsewhere."""

    found: LatencyTable
    timer: TimedRuntime
    measured = False

    @property
    def batch(self) -> int:
        """The batch size of the table."""
        return self.found.batch

    def notes(self, formats: Iterable[FormatName]) -> tuple[str, ...]:  # noqa: ARG002
        """Whether it was modelled, or measured on another machine."""
        if f"{MODEL}:" in self.found.source:
            return (f"latencies are modelled ({self.found.source}), not measured",)
        if measured_elsewhere(self.found):
            return (f"the latency table was measured on {self.found.machine}; this machine is {cpu_name()}",)
        return ()

    def table(self, subject: Subject, batch: int, progress: ShareDone = unreported) -> LatencyTable:  # noqa: ARG002
        """The table."""
        return self.found


@dataclass(frozen=True)
class ModelSource:
    """``model:PROFILE``: times computed from what a machine can do."""

    profile: HardwareProfile
    timer: TimedRuntime
    measured = False
    batch = None

    def notes(self, formats: Iterable[FormatName]) -> tuple[str, ...]:
        """What the profile is, and what it has no rate for."""
        integers = (FORMATS[value] for value in formats)
        return self.profile.notes(found.bits for found in integers if not found.floating)

    def table(self, subject: Subject, batch: int, progress: ShareDone = unreported) -> LatencyTable:  # noqa: ARG002
        """Computes times."""
        prepared = subject.prepared
        return self.modelled(prepared.blueprint, prepared.choices, prepared.scheme, batch)

    def modelled(
        self, blueprint: Blueprint, choices: Choices | Sequence[FormatName], scheme: str, batch: int
    ) -> LatencyTable:
        """The same of a model that is not prepared: shapes are all that counts."""
        return model_table(self.profile, blueprint, choices, scheme, batch)


def latency_source(name: str, scheme: str, threads: int | None = None) -> LatencySource:
    """The source that ``--latency`` names.

    Args:
        name: ``measured``, ``measured:RUNTIME``, ``table:FILE``, ``model:NAME`` or ``model:FILE.toml``; or
            ``KIND:REST`` of another package, whose entry point is called with the rest and the scheme.
        scheme: The quantization scheme whose latency is asked for.
        threads: Of an inference; None for those of the table, or 1.

    Raises:
        UserError: There is no such source, it is for another scheme or other threads, its runtime is not
            installed, or its file cannot be read.
    """
    kind, _, rest = name.partition(":")
    if kind == MEASURED and (rest or TORCH) in TIMED_RUNTIMES:
        return MeasuredSource(timed_runtime_named(rest or TORCH, scheme, threads or 1))
    if kind == TABLE and rest:
        table = named_table(Path(rest), scheme)
        settled_threads(name, table.threads, threads)
        return _table_source(table, scheme)
    if kind in plugins(PLUGINS):
        found = cast(LatencySource, plugins(PLUGINS)[kind].load_callable()(rest, scheme))
        settled_threads(name, found.timer.threads, threads)
        return found
    if kind == MODEL and rest:
        if threads is not None:
            raise UserError(f"--latency-threads {threads}: {name} models a whole machine: leave it out")
        return ModelSource(profile_named(rest), timed_runtime_named(TORCH, scheme))
    measured = ", ".join(f"{MEASURED}:{runtime}" for runtime in TIMED_RUNTIMES)
    raise UserError(
        f"unknown latency source {name!r}: choose {MEASURED}, {measured}, {TABLE}:FILE, {MODEL}:NAME "
        f"({', '.join(shipped_profiles())}) or {MODEL}:FILE.toml"
    )


def resumed_source(name: str, scheme: str, table: LatencyTable) -> LatencySource:
    """The source of a run that has its table already: files that it was made from are not read again.

    Args:
        name: What ``--latency`` named when the run began.
        scheme: The quantization scheme.
        table: The run's own table.
    """
    if name.partition(":")[0] == MEASURED:
        return latency_source(name, scheme, table.threads)
    return _table_source(of_scheme(table, scheme), scheme)


def _table_source(table: LatencyTable, scheme: str) -> TableSource:
    return TableSource(table, runtime_of_table(table.source, scheme, table.threads))
