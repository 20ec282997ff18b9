"""Reference models: what the float and the uniform 8-bit model score, for relative limits and plots."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bitfront.search.problem.objectives import ANALYTIC

FLOAT_NAME, EIGHT_BIT_NAME = "float32", "W8A8T8"
# Before a metric's name where it is of the test split.
_TEST = "test_"
# Fields that hold metrics or costs by name, and what stands before these in documents.
_METRICS = {"values": "", "test_values": _TEST, "costs": ""}


@dataclass(frozen=True)
class Reference:
    """One model that is not searched: what limits refer to and what a front is compared with.

    None stands where something was not measured, or where a run of an earlier version does not say it.

    Attributes:
        name: What it is called in plots and tables, such as ``float32``.
        latency_ms: Latency from the run's latency source, in milliseconds; lower is better.
        size_bytes: Size of its file, in bytes; lower is better.
        values: Metrics on the search split by name.
        latency_measured_ms: Measured latency of the whole model, in milliseconds.
        test_values: Metrics on the test split by name.
        lost: Images of the search split that only the float model gets right.
        won: Images of the search split that only this model gets right.
        test_lost: Those of the test split that only the float model gets right.
        test_won: Those of the test split that only this model gets right.
        latency_source: Where ``latency_ms`` comes from; empty if unknown.
        classes: Number of classes.
        images: Images of the search split that were classified.
        test_images: Those of the test split.
        right: Which images of the search split it gets right, packed (see ``evaluators/tasks/quality.py``);
            empty where that is not known.
        test_right: The same of the test split.
        costs: Further costs by column, such as ``energy_mj``; lower is better.
    """

    name: str
    latency_ms: float = math.nan
    size_bytes: float = math.nan
    values: Mapping[str, float] = field(default_factory=dict)
    latency_measured_ms: float | None = None
    test_values: Mapping[str, float] = field(default_factory=dict)
    lost: int | None = None
    won: int | None = None
    test_lost: int | None = None
    test_won: int | None = None
    latency_source: str = ""
    classes: int | None = None
    images: int | None = None
    test_images: int | None = None
    right: str = ""
    test_right: str = ""
    costs: Mapping[str, float] = field(default_factory=dict)

    def known(self, column: str) -> float | None:
        """A cost or a metric on the search split by its column; None where it is not known."""
        usual = {"latency_ms": self.latency_ms, "size_bytes": self.size_bytes}
        return {**self.values, **self.costs, **usual}.get(column)

    def to_json(self) -> dict[str, Any]:
        """The object of ``references.json``: metrics by name, those of the test split behind ``test_``."""
        document: dict[str, Any] = {}
        for name, value in dataclasses.asdict(self).items():
            if name in _METRICS:
                # JSON has no NaN: null stands where a metric is not defined.
                known = {metric: None if math.isnan(found) else found for metric, found in value.items()}
                document |= {f"{_METRICS[name]}{metric}": found for metric, found in known.items()}
            else:
                document[name] = value
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Reference:
        """The inverse of :meth:`to_json`; all but the name may be absent.

        Raises:
            KeyError: There is no name.
            ValueError: A text stands where a number belongs.
            TypeError: The same of another JSON value.
        """
        readers = {"float": float, "float | None": float, "int | None": int, "str": str}
        own = [entry for entry in dataclasses.fields(cls) if entry.name not in _METRICS]
        known: dict[str, Any] = {
            entry.name: readers[str(entry.type)](document[entry.name])
            for entry in own
            if document.get(entry.name) is not None
        }
        for name, value in document.items():
            if name not in {entry.name for entry in own} and value is not None:
                tested = name.startswith(_TEST)
                where = "costs" if name in ANALYTIC else "test_values" if tested else "values"
                side = known.setdefault(where, {})
                side[name.removeprefix(_TEST) if tested else name] = float(value)
        return cls(**{"name": document["name"], **known})


@dataclass(frozen=True)
class References:
    """The models that limits and constraints refer to.

    Attributes:
        float_model: The model before quantization.
        eight_bit: The model quantized uniformly to 8 bits.
    """

    float_model: Reference
    eight_bit: Reference

    def to_json(self) -> list[dict[str, Any]]:
        """One object for each model; for ``references.json``."""
        return [self.float_model.to_json(), self.eight_bit.to_json()]
