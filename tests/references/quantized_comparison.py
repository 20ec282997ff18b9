"""The evaluator beside the reference: deviations of its logits, and the noise that they are measured by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from quantized_cases import PLAIN, Bits, Case, config_of
from quantized_reference import QuantizedReference, fitted_layers, quantized_weights

from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.cpu import CpuKernels
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantized.model import QuantizedModel
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import Choices

KERNELS: dict[str, Callable[[], Kernels]] = {
    "cpu": CpuKernels,
    "portable": lambda: PortableKernels(torch.device("cpu")),
}


# Codes may differ where a value lies within rounding error of a tie: by one code, in this share of them.
TIES = 1e-3


def differ_by_ties(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether codes are equal but for ties."""
    difference = (got.double() - wanted.double()).abs()
    return float(difference.max()) <= 1 and float((difference > 0).double().mean()) < TIES


@dataclass(frozen=True)
class Deviations:
    """Absolute differences of logits to the float64 reference, ``[samples, classes]``.

    Attributes:
        evaluator: Of the evaluator.
        noise: Of float fake quantization in float32.
    """

    evaluator: torch.Tensor
    noise: torch.Tensor

    @property
    def mean_ratio(self) -> float:
        """Mean deviation of the evaluator over that of float fake quantization."""
        return float(self.evaluator.mean() / self.noise.mean())

    @property
    def largest_ratio(self) -> float:
        """The same of the largest deviations."""
        return float(self.evaluator.max() / self.noise.max())

    @property
    def excess(self) -> float:
        """Standard errors by which the evaluator's mean deviation is above twice the noise's.

        What deviates is a few flips of ties with large effects, so that means over samples have wide errors.
        """
        differences = (self.evaluator - 2 * self.noise).mean(1)
        return float(differences.mean() / (differences.std() / len(differences) ** 0.5))

    def as_one_sample(self, unit: float) -> Deviations:
        """Means over the samples, in another unit: the flips of one model and assignment go together."""
        return Deviations(self.evaluator.mean(0)[None] / unit, self.noise.mean(0)[None] / unit)

    @classmethod
    def pooled(cls, parts: Iterable[Deviations]) -> Deviations:
        """All samples together."""
        found = list(parts)
        return cls(torch.cat([p.evaluator for p in found]), torch.cat([p.noise for p in found]))


class Comparison:
    """One case in one scheme, prepared once for any assignment of bits.

    Args:
        case: The model and its images.
        scheme: The quantization scheme.
        kernels: Of :data:`KERNELS`.
        ranges: Of the weights that no recipe fits.
        recipe: Name of the quantization recipe.
        choices: Formats that are prepared.
    """

    def __init__(
        self,
        case: Case,
        scheme: str,
        kernels: str = "cpu",
        ranges: str = "mse",
        recipe: str = "fq-vit",
        choices: Choices = PLAIN,
    ) -> None:
        self.case, self.scheme, self.ranges, self.choices = case, scheme, ranges, choices
        self.calibrated = case.calibrated(scheme, recipe_named(recipe), choices)
        self.prepared = PreparedModel(
            self.calibrated.blueprint,
            self.calibrated.calibration,
            scheme,
            choices,
            ranges,
            self.calibrated.layers,
            self.calibrated.log_steps,
            KERNELS[kernels](),
        )

    def models(self, bits: Bits) -> tuple[QuantizedModel, QuantizedReference, QuantizedReference]:
        """The evaluator's model, the float64 reference and the same in float32."""
        calibrated = self.calibrated
        config = config_of(calibrated.blueprint, self.scheme, bits, self.choices)
        fitted = fitted_layers(calibrated.blueprint, config, calibrated.layers)
        weights = quantized_weights(calibrated.blueprint, config, self.ranges)
        weights |= {key: layer.weight for key, layer in fitted.items()}
        biases = {key: layer.bias for key, layer in fitted.items()}
        exact, single = (
            QuantizedReference(
                calibrated.blueprint,
                calibrated.calibration,
                config,
                weights,
                dtype,
                log_steps=calibrated.log_steps,
                biases=biases,
            )
            for dtype in (torch.float64, torch.float32)
        )
        return self.prepared.assemble(config), exact, single

    @torch.inference_mode()
    def spread(self) -> float:
        """Standard deviation of the float model's logits between images, to compare models by."""
        return float(self.case.module(self.case.images).std(0).mean())

    def deviations(self, bits: Bits, batch: int = 64) -> Deviations:
        """Deviations of the logits of every image of the case."""
        model, exact, single = self.models(bits)
        parts = []
        for images in self.case.images.split(batch):
            wanted = exact.logits(images)
            parts.append(
                Deviations(
                    (model(images).double() - wanted).abs(), (single.logits(images).double() - wanted).abs()
                )
            )
        return Deviations.pooled(parts)
