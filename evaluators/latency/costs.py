"""Costs of configurations that need no evaluation: latency from a table, size of the packed file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bitfront.spaces import BitConfig, SearchSpace

if TYPE_CHECKING:
    from bitfront.evaluators.latency.table import TableLatency
    from bitfront.evaluators.packed.layout import SizeModel


class ModelCosts:
    """The cost model of a quantized vision transformer.

    Args:
        latency: Latencies by table.
        size: Packed sizes.
    """

    def __init__(self, latency: TableLatency, size: SizeModel) -> None:
        self._latency = latency
        self._size = size

    @property
    def latency_source(self) -> str:
        """Where latencies come from."""
        return self._latency.source

    @property
    def latency_batch(self) -> int:
        """Images of the batch that latencies are for."""
        return self._latency.table.batch

    @property
    def float_latency_ms(self) -> float:
        """Latency of the float model, in milliseconds."""
        return self._latency.table.float_model.milliseconds

    @property
    def float_size_bytes(self) -> int:
        """Size of the float model's file."""
        return self._size.float_bytes()

    def latency_ms(self, config: BitConfig) -> float:
        """Latency of a batch, in milliseconds."""
        return self._latency.latency_ms(config)

    def size_bytes(self, config: BitConfig) -> int:
        """Size of the packed file, in bytes."""
        return self._size.size_bytes(config)

    def minimum_latency_ms(self, space: SearchSpace) -> float:
        """The least latency that any configuration of the space has."""
        return self._latency.minimum_latency_ms(space)

    def minimum_size_bytes(self, space: SearchSpace) -> int:
        """The least size of the space: every width that is not held at its lowest."""
        return self._size.size_bytes(space.decode(np.zeros(len(space), dtype=np.int64)))
