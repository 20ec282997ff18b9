"""The assembled quantized model of one bit configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bitfront.evaluators.quantized.embedding import QuantizedEmbedding
from bitfront.evaluators.quantized.encoder import QuantizedEncoder
from bitfront.evaluators.quantized.merging import QuantizedMerging
from bitfront.evaluators.quantized.readout import QuantizedReadout
from bitfront.evaluators.quantized.stages import Tap, unseen
from bitfront.spaces import BitfrontError


class NotFiniteError(BitfrontError):
    """The residual stream holds NaN or infinity."""


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized vision transformer; assembling one only gathers references to prepared parts.

    Attributes:
        embedding: Images to the stream.
        encoders: In order.
        merges: Patch mergings by the index of the encoder that follows.
        readout: The stream to logits.
    """

    embedding: QuantizedEmbedding
    encoders: tuple[QuantizedEncoder, ...]
    merges: Mapping[int, QuantizedMerging]
    readout: QuantizedReadout

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor, tap: Tap | None = None) -> torch.Tensor:
        """Logits ``[batch, classes]`` of normalised images ``[batch, channels, rows, columns]``.

        Args:
            images: On the kernels' device.
            tap: Sees the codes (float32 where the scheme keeps a tensor in float) at every site; the fused
                kernels are then not used.

        Raises:
            NotFiniteError: A float residual stream overflows, which quantizing its readout would hide.
        """
        batch = len(images)
        see = tap or unseen
        x = self.embedding(images, see)
        normed: torch.Tensor | None = None
        for index, encoder in enumerate(self.encoders):
            if index in self.merges:
                x = self.merges[index](x, batch, see)
            if normed is None:
                normed = encoder.norm1(x)
            last = index + 1 == len(self.encoders) or index + 1 in self.merges
            x, normed = encoder(x, normed, batch, None if last else self.encoders[index + 1].norm1, tap)
        if x.is_floating_point() and not bool(x.isfinite().all()):
            raise NotFiniteError("the residual stream holds NaN or infinity")
        return self.readout(x, batch, see)
