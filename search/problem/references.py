"""Reference models: what the float and the uniform 8-bit model score, for relative limits and plots."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FLOAT_NAME, EIGHT_BIT_NAME = "float32", "W8A8T8"
_SHARED = ("latency_source", "classes", "images", "test_images")


@dataclass(frozen=True)
class ReferencePoint:
    """One model that is not searched.

    Attributes:
        latency_ms: Latency from the run's source, in milliseconds.
        size_bytes: Size of its file, in bytes.
        top1: Accuracy on the search split, in percent; None where it was not measured.
        loss: Cross-entropy on the search split, in nats; None where it was not measured.
        latency_measured_ms: Measured latency of the whole model, in milliseconds; None where there is none.
        test_top1: Accuracy on the test split, in percent; None where it was not measured.
        lost: Images of the search split that only the float model gets right; None where not measured.
        won: Images of the search split that only this model gets right; None where not measured.
        test_lost: Those of the test split that only the float model gets right; None where not measured.
        test_won: Those of the test split that only this model gets right; None where not measured.
    """

    latency_ms: float
    size_bytes: int
    top1: float | None = None
    loss: float | None = None
    latency_measured_ms: float | None = None
    test_top1: float | None = None
    lost: int | None = None
    won: int | None = None
    test_lost: int | None = None
    test_won: int | None = None


@dataclass(frozen=True)
class References:
    """The models that limits and constraints refer to.

    Attributes:
        float_model: The model before quantization.
        eight_bit: The model quantized uniformly to 8 bits.
        classes: Number of classes, for the loss of a guess.
        latency_source: Where ``latency_ms`` comes from.
        images: Images of the search split that were classified; None where it is not known.
        test_images: Those of the test split; None where it is not known.
    """

    float_model: ReferencePoint
    eight_bit: ReferencePoint
    classes: int
    latency_source: str = ""
    images: int | None = None
    test_images: int | None = None

    def to_json(self) -> list[dict[str, Any]]:
        """One object for each model, with its ``name``; for ``references.json``."""
        shared = {name: getattr(self, name) for name in _SHARED}
        named = ((FLOAT_NAME, self.float_model), (EIGHT_BIT_NAME, self.eight_bit))
        return [{"name": name, **dataclasses.asdict(point), **shared} for name, point in named]

    @classmethod
    def from_json(cls, document: Sequence[Mapping[str, Any]]) -> References:
        """The inverse of :meth:`to_json`; further models and keys are left out, later ones may be absent."""
        entries = {str(entry["name"]): entry for entry in document}
        base = entries[FLOAT_NAME]
        shared = {name: base[name] for name in _SHARED if name in base}
        return cls(_point(base), _point(entries[EIGHT_BIT_NAME]), **shared)


def _point(entry: Mapping[str, Any]) -> ReferencePoint:
    fields = {field.name for field in dataclasses.fields(ReferencePoint)}
    return ReferencePoint(**{name: entry[name] for name in fields & entry.keys()})
