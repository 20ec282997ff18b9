"""The integer embedding: image codes to residual codes."""

from __future__ import annotations

import torch

from bitfront.evaluators.calibration import Calibration
from bitfront.evaluators.fq_vit.stages import IntegerNorm, ResidualSum
from bitfront.evaluators.kernels.linear import integer_linear
from bitfront.evaluators.models.blueprint import Blueprint, patches_of
from bitfront.evaluators.quantizers import QuantizedWeight


class IntegerEmbedding:
    """Quantizes images, embeds their patches and adds the quantized position embedding."""

    def __init__(
        self, blueprint: Blueprint, calibration: Calibration, weight: QuantizedWeight, bits: int
    ) -> None:
        self._patch_size = blueprint.patch_size
        self._image = calibration.affine["image", bits]
        self._grid = calibration.affine["patch_embed", bits]
        positions = calibration.affine["pos_embed", bits]
        self._project = integer_linear(weight, blueprint.patch.bias)
        self._prefix = self._grid.quantize(blueprint.prefix)
        self._positions = positions.quantize(blueprint.positions)
        self._sum = ResidualSum(self._grid, positions, calibration.power_of_two["embed"])

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        patches = patches_of(self._image.quantize(images), self._patch_size)
        batch, count, width = patches.shape
        codes = self._project.to_codes(patches.reshape(-1, width), self._image, self._grid)
        tokens = torch.cat([self._prefix.expand(batch, -1, -1), codes.view(batch, count, -1)], dim=1)
        return tokens.view(batch * tokens.shape[1], -1)

    def __call__(self, images: torch.Tensor, following: IntegerNorm) -> tuple[torch.Tensor, torch.Tensor]:
        """Residual codes ``[batch * tokens, channels]`` and their codes after the first LayerNorm."""
        return self._sum.then_norm(self._tokens(images), self._positions, following)

    def residual(self, images: torch.Tensor) -> torch.Tensor:
        """Residual codes alone."""
        return self._sum(self._tokens(images), self._positions)
