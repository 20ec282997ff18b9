"""The evaluation spec: everything a worker needs to rebuild the same evaluation context."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EvaluationSpec:
    """What is evaluated, on which data, and how it is quantized.

    Two processes with equal specs build identical calibrated models.

    Attributes:
        model: ``digits_deit`` or the name of a timm model.
        checkpoint: Path of a weights file, or None.
        pretrained: Whether to take timm's hub weights.
        data: ``digits``, ``cifar10``, ``cifar10:DIR``, an ImageFolder directory or a ``labels.csv`` path.
        scheme: Quantization scheme, ``fq-vit``.
        widths: Bit widths to prepare, ascending.
        calibration_images: Images used to calibrate.
        search_images: Images of the search split, or None for the default share.
        test_images: Images of the test split, or None for all the rest.
        seed: Seed of the splits.
        weight_ranges: ``mse`` (squared-error clipping per channel) or ``minmax``.
        weight_rounding: ``gptq`` (errors compensated by calibration inputs) or ``nearest``.
        observer: Activation observer: ``auto``, ``minmax``, ``ema``, ``percentile`` or ``omse``.
        batch_size: Images per evaluation batch.
        threads: Torch threads of an evaluating process.
    """

    model: str = "digits_deit"
    checkpoint: str | None = None
    pretrained: bool = False
    data: str = "digits"
    scheme: str = "fq-vit"
    widths: tuple[int, ...] = (4, 8)
    calibration_images: int = 128
    search_images: int | None = None
    test_images: int | None = None
    seed: int = 0
    weight_ranges: str = "mse"
    weight_rounding: str = "gptq"
    observer: str = "auto"
    batch_size: int = 32
    threads: int = 1

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        return {**dataclasses.asdict(self), "widths": list(self.widths)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> EvaluationSpec:
        """The inverse of :meth:`to_json`; unknown fields and other types raise TypeError."""
        spec = cls(**{**document, "widths": tuple(document["widths"])})
        for field in dataclasses.fields(cls):
            value, usual = getattr(spec, field.name), field.default
            kinds = (str, int, type(None)) if usual is None else type(usual)
            if not isinstance(value, kinds):
                raise TypeError(f"{field.name} is {value!r}")
        return spec

    def canonical(self) -> str:
        """The spec as one line of JSON, for use as a cache key."""
        return json.dumps(self.to_json(), sort_keys=True)
