"""Latency sources by name: measured on a runtime, read from a table, or modelled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import nn

from bitfront.evaluators.latency.measured import measure_table
from bitfront.evaluators.latency.modelled import SOURCE as MODELLED
from bitfront.evaluators.latency.modelled import model_table
from bitfront.evaluators.latency.table import LatencyTable
from bitfront.evaluators.quantized import PreparedModel
from bitfront.spaces import UserError

Progress = Callable[[float], None]


class LatencySource(Protocol):
    """Provides the latency table of a quantized model."""

    def table(
        self,
        prepared: PreparedModel,
        module: nn.Module,
        batch: int,
        progress: Progress | None = None,
    ) -> LatencyTable:
        """The table; ``progress`` hears the share that is done."""


class TorchSource:
    """``measured:torch``: this machine, now, in torch."""

    def table(
        self,
        prepared: PreparedModel,
        module: nn.Module,
        batch: int,
        progress: Progress | None = None,
    ) -> LatencyTable:
        """Measures for as long as the protocol's budget allows."""
        return measure_table(prepared, module, batch, progress=progress)


class FileSource:
    """``table:FILE``: times measured earlier or elsewhere; the file is read at once."""

    def __init__(self, path: Path) -> None:
        table = LatencyTable.read(path)
        self._table = dataclasses.replace(table, source=f"table:{path.name} ({table.source})")

    def table(
        self,
        prepared: PreparedModel,  # noqa: ARG002
        module: nn.Module,  # noqa: ARG002
        batch: int,  # noqa: ARG002
        progress: Progress | None = None,  # noqa: ARG002
    ) -> LatencyTable:
        """The file's table; its batch size is the one it was measured with."""
        return self._table


class ModelSource:
    """``model:bops``: times computed from bit operations."""

    def table(
        self,
        prepared: PreparedModel,
        module: nn.Module,  # noqa: ARG002
        batch: int,  # noqa: ARG002
        progress: Progress | None = None,  # noqa: ARG002
    ) -> LatencyTable:
        """Computes times for one image."""
        return model_table(prepared.blueprint, prepared.widths)


def latency_source(name: str) -> LatencySource:
    """The source that ``--latency`` names.

    Raises:
        UserError: The name is not ``measured[:torch]``, ``table:FILE`` or ``model:bops``, or the file is no
            latency table.
    """
    kind, _, rest = name.partition(":")
    if kind == "measured" and rest in ("", "torch"):
        return TorchSource()
    if kind == "table" and rest:
        return FileSource(Path(rest))
    if name == MODELLED:
        return ModelSource()
    raise UserError(
        f"unknown latency source {name!r}: choose measured, measured:torch, table:FILE or model:bops"
    )
