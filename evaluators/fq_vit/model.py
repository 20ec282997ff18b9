"""The assembled integer model of one bit configuration."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitfront.evaluators.fq_vit.embedding import IntegerEmbedding
from bitfront.evaluators.fq_vit.encoder import IntegerEncoder
from bitfront.evaluators.fq_vit.readout import IntegerReadout


@dataclass(frozen=True)
class FqVit:
    """A vision transformer in integers; assembling one only gathers references to prepared parts."""

    embedding: IntegerEmbedding
    encoders: tuple[IntegerEncoder, ...]
    readout: IntegerReadout

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, classes]`` of normalised images ``[batch, channels, rows, columns]``."""
        batch = len(images)
        x, normed = self.embedding(images, self.encoders[0].norm1)
        for encoder, following in zip(self.encoders, self.encoders[1:], strict=False):
            x, normed = encoder(x, normed, batch, following.norm1)
        x, _ = self.encoders[-1](x, normed, batch, None)
        return self.readout(x, batch)
