"""What a run records of its costs: encoders by which a latency table is asked, and sizes of its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bitfront.evaluators.latency.costs import FurtherCost, least_cost
from bitfront.evaluators.latency.table import TableLatency, TimedEncoder
from bitfront.search.runs.files import damaged_file, read_json
from bitfront.search.runs.folder import RunFolder
from bitfront.spaces import BitConfig, SearchSpace, StructuralConstraint

# What a table is asked of each encoder by, so that another one can be added up without the model.
COSTS = "costs.json"


def write_encoders(folder: RunFolder, encoders: Sequence[TimedEncoder]) -> None:
    """Writes ``costs.json``: the shape of every encoder and the products of its layers."""
    folder.write_json(COSTS, {"encoders": [encoder.to_json() for encoder in encoders]})


def read_encoders(folder: Path) -> tuple[TimedEncoder, ...] | None:
    """The encoders of a run; None for runs of versions that did not record them.

    Raises:
        UserError: ``costs.json`` is damaged.
    """
    path = folder / COSTS
    if not path.exists():
        return None
    try:
        return tuple(map(TimedEncoder.from_json, read_json(path, dict)["encoders"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class RecordedCost:
    """A further cost of a run's own trials, as it was recorded.

    Attributes:
        source: Where its figures come from.
        float_value: Of the float model.
        values: By digest.
        least_value: Of the space.
    """

    source: str
    float_value: float
    values: Mapping[str, float]
    least_value: float

    def of(self, config: BitConfig) -> float:
        """The recorded value; KeyError for a configuration that is no trial."""
        return self.values[config.digest]

    def least(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> float:  # noqa: ARG002
        """As it was recorded."""
        return self.least_value


@dataclass(frozen=True)
class RecordedCosts:
    """The cost model of a run's own trials: latencies by a table, sizes as they were recorded.

    Attributes:
        latency: Latencies.
        sizes: Bytes by digest.
        least_bytes: Of the space.
        most_bytes: Of the space.
        further: Other costs that the search asked for, by column.
    """

    latency: TableLatency
    sizes: Mapping[str, int]
    least_bytes: int
    most_bytes: int
    further: Mapping[str, FurtherCost] = field(default_factory=dict)

    @property
    def latency_source(self) -> str:
        """Where latencies come from."""
        return self.latency.source

    @property
    def latency_noise(self) -> float:
        """Standard error of latencies as a share of them; 0 where they are modelled."""
        return self.latency.noise

    def latency_ms(self, config: BitConfig) -> float:
        """Latency of a batch, in milliseconds."""
        return self.latency.latency_ms(config)

    def size_bytes(self, config: BitConfig) -> int:
        """Recorded size; KeyError for a configuration that is no trial."""
        return self.sizes[config.digest]

    def minimum_latency_ms(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> float:
        """The least latency of the configurations of the space that satisfy the rules."""
        return least_cost(space, self.latency_ms, rules)

    def minimum_size_bytes(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> int:  # noqa: ARG002
        """As it was recorded."""
        return self.least_bytes

    def maximum_size_bytes(self, space: SearchSpace) -> int:  # noqa: ARG002
        """As it was recorded."""
        return self.most_bytes
