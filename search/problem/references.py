"""Reference models: what the float and the uniform 8-bit model score, for relative limits and plots."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FLOAT_NAME, EIGHT_BIT_NAME = "float32", "W8A8T8"


@dataclass(frozen=True)
class Reference:
    """One model that is not searched: what limits refer to and what a front is compared with.

    None stands where something was not measured, or where a run of an earlier version does not say it.

    Attributes:
        name: What it is called in plots and tables, such as ``float32``.
        latency_ms: Latency from the run's latency source, in milliseconds; lower is better.
        size_bytes: Size of its file, in bytes; lower is better.
        top1: Accuracy on the search split, in percent; higher is better.
        loss: Cross-entropy on the search split, in nats; lower is better.
        latency_measured_ms: Measured latency of the whole model, in milliseconds.
        test_top1: Accuracy on the test split, in percent.
        lost: Images of the search split that only the float model gets right.
        won: Images of the search split that only this model gets right.
        test_lost: Those of the test split that only the float model gets right.
        test_won: Those of the test split that only this model gets right.
        latency_source: Where ``latency_ms`` comes from; empty if unknown.
        classes: Number of classes.
        images: Images of the search split that were classified.
        test_images: Those of the test split.
    """

    name: str
    latency_ms: float = math.nan
    size_bytes: float = math.nan
    top1: float | None = None
    loss: float | None = None
    latency_measured_ms: float | None = None
    test_top1: float | None = None
    lost: int | None = None
    won: int | None = None
    test_lost: int | None = None
    test_won: int | None = None
    latency_source: str = ""
    classes: int | None = None
    images: int | None = None
    test_images: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The object of ``references.json``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Reference:
        """The inverse of :meth:`to_json`; all but the name may be absent, and what is not known is ignored.

        Raises:
            KeyError: There is no name.
            ValueError: A text stands where a number belongs.
            TypeError: The same of another JSON value.
        """
        readers = {"float": float, "float | None": float, "int | None": int, "str": str}
        known = {
            field.name: readers[str(field.type)](document[field.name])
            for field in dataclasses.fields(cls)
            if document.get(field.name) is not None
        }
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
