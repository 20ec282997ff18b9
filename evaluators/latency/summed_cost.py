"""A cost of configurations that is a sum over encoders, of figures by shape and precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitfront.evaluators.latency.costs import least_cost
from bitfront.evaluators.latency.table import TimedEncoder, summed
from bitfront.spaces import BitConfig, SearchSpace, StructuralConstraint, Triple

FORMAT = "bitfront/summed-cost"


@dataclass(frozen=True)
class SummedCost:
    """A cost as the sum of entries; lower is better.

    Attributes:
        source: Where the figures come from.
        entries: Of an encoder by (shape, (weights, activations, attention)).
        rest: Of everything outside the encoders, quantized.
        float_value: Of the whole float model.
        encoders: Those of the model, in their order.
    """

    source: str
    entries: Mapping[tuple[str, Triple], float]
    rest: float
    float_value: float
    encoders: tuple[TimedEncoder, ...]

    def of(self, config: BitConfig) -> float:
        """The cost of a configuration; see :func:`summed`."""
        return summed(config, self.encoders, lambda *key: self.entries[key], self.rest)

    def least(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> float:
        """The least of the configurations of a space that satisfy the rules."""
        return least_cost(space, self.of, rules)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "format": FORMAT,
            "source": self.source,
            "entries": [[shape, list(triple), value] for (shape, triple), value in self.entries.items()],
            "rest": self.rest,
            "float_model": self.float_value,
            "encoders": [encoder.to_json() for encoder in self.encoders],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SummedCost:
        """The inverse of :meth:`to_json`; KeyError, TypeError or ValueError where it is none."""
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r}, expected {FORMAT}")
        entries: dict[tuple[str, Triple], float] = {}
        for shape, triple, value in document["entries"]:
            weights, activations, attention = triple
            entries[str(shape), (weights, activations, attention)] = float(value)
        encoders = tuple(map(TimedEncoder.from_json, document["encoders"]))
        rest, whole = float(document["rest"]), float(document["float_model"])
        return cls(str(document["source"]), entries, rest, whole, encoders)
