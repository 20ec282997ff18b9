"""Scheme ``deploy``: what CPU and GPU runtimes execute, integer matrix products between float stages."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.float_stages import (
    FloatAverage,
    FloatNorm,
    FloatPositions,
    FloatProjection,
    FloatStreamNorm,
    FloatSum,
)
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.stages import ScoreTerms
from bitfront.spaces.schemes import DEPLOY, pinned_bits


@dataclass(frozen=True, eq=False)
class Deploy:
    """Linear layers and attention products in integers, everything else in float32; see :class:`Scheme`."""

    blueprint: Blueprint
    calibration: Calibration
    kernels: Kernels

    @property
    def _pinned(self) -> dict[str, int]:
        return dict(pinned_bits(DEPLOY))

    def project_patches(self, layer: FittedLayer) -> FloatProjection:
        """See :class:`Scheme`."""
        image = self.calibration.grid("image", self._pinned["embedding"])
        return FloatProjection(layer, image, self.kernels)

    def prefix(self) -> torch.Tensor:
        """See :class:`Scheme`."""
        return self.blueprint.prefix

    def positions(self) -> FloatPositions | None:
        """See :class:`Scheme`."""
        values = self.blueprint.positions
        return None if values is None else FloatPositions(values)

    def embed_norm(self) -> FloatStreamNorm | None:
        """See :class:`Scheme`."""
        parts = self.blueprint.embed_norm
        return None if parts is None else FloatStreamNorm(parts)

    def norm(self, index: int, number: int, bits: int) -> FloatNorm:
        """See :class:`Scheme`."""
        encoder = self.blueprint.encoders[index]
        parts = encoder.norm1 if number == 1 else encoder.norm2
        return FloatNorm(parts, self.calibration.grid(f"{encoder.name}.norm{number}", bits), self.kernels)

    def updates(self, index: int) -> tuple[FloatSum, FloatSum]:  # noqa: ARG002 - alike in every encoder
        """See :class:`Scheme`."""
        return FloatSum(self.kernels), FloatSum(self.kernels)

    def scores(self, index: int, activations: int) -> ScoreTerms:
        """See :class:`Scheme`."""
        encoder = self.blueprint.encoders[index]
        step = self.calibration.grid(f"{encoder.name}.attn.qkv", activations).scale
        bias = None if encoder.window is None else encoder.window.bias
        return ScoreTerms(step * step * encoder.score_scales, bias, None)

    def merge_norm(self, index: int) -> FloatNorm:
        """See :class:`Scheme`."""
        merge = self.blueprint.merges[index]
        grid = self.calibration.grid(f"{merge.name}.norm", self._pinned["embedding"])
        return FloatNorm(merge.norm, grid, self.kernels)

    def merge_projection(self, index: int, layer: FittedLayer) -> FloatProjection:
        """See :class:`Scheme`."""
        merge = self.blueprint.merges[index]
        source = self.calibration.grid(f"{merge.name}.norm", self._pinned["embedding"])
        return FloatProjection(layer, source, self.kernels)

    def final_norm(self) -> FloatNorm:
        """See :class:`Scheme`."""
        out = self.calibration.grid("norm", self._pinned["head"])
        return FloatNorm(self.blueprint.readout.norm, out, self.kernels)

    def average(self, first: int) -> FloatAverage:
        """See :class:`Scheme`."""
        readout = self.blueprint.readout
        out = self.calibration.grid("norm", self._pinned["head"])
        return FloatAverage(readout.norm, out, first, norm_first=readout.norm_first)

    def logits(self, value: torch.Tensor) -> torch.Tensor:
        """See :class:`Scheme`: as they are."""
        return value
