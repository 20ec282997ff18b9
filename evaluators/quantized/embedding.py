"""The quantized embedding: images to the residual stream."""

from __future__ import annotations

import torch

from bitfront.evaluators.models.float_forward import patches_of
from bitfront.evaluators.quantized.layer_fit import FittedLayer
from bitfront.evaluators.quantized.scheme import Scheme
from bitfront.evaluators.quantized.stages import Tap, unseen
from bitfront.evaluators.quantizers import AffineGrid


class QuantizedEmbedding:
    """Quantizes images, embeds their patches and adds prefix tokens and positions.

    Args:
        scheme: Builds the stages.
        image: Grid of the images.
        patch_size: Rows and columns of a patch.
        layer: The patch projection.
    """

    def __init__(
        self, scheme: Scheme, image: AffineGrid, patch_size: tuple[int, int], layer: FittedLayer
    ) -> None:
        self._image = image
        self._patch_size = patch_size
        self._project = scheme.project_patches(layer)
        self._prefix = scheme.prefix()
        self._positions = scheme.positions()
        self._norm = scheme.embed_norm()

    def __call__(self, images: torch.Tensor, tap: Tap = unseen) -> torch.Tensor:
        """The stream ``[batch * tokens, channels]`` of images ``[batch, channels, rows, columns]``."""
        codes = self._image.quantize(images)
        tap("image", codes)
        patches = patches_of(codes, self._patch_size)
        batch, count, width = patches.shape
        x = self._project(patches.reshape(-1, width))
        if len(self._prefix):
            tokens = [self._prefix.expand(batch, -1, -1), x.view(batch, count, -1)]
            x = torch.cat(tokens, dim=1).flatten(0, 1)
        if self._positions is not None:
            tap("patch_embed", x)
            x = self._positions(x)
        if self._norm is not None:
            tap("embed_sum", x)
            x = self._norm(x)
        tap("embed", x)
        return x
