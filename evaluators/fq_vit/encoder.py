"""One integer encoder, assembled from prepared parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitfront.evaluators.fq_vit.stages import IntegerNorm, IntegerSoftmax, ResidualSum
from bitfront.evaluators.kernels.attention import merge_heads, split_heads
from bitfront.evaluators.kernels.linear import IntegerLinear
from bitfront.evaluators.quantizers import AffineGrid


@dataclass(frozen=True)
class EncoderGrids:
    """Grids of an encoder's per-tensor sites at the chosen widths."""

    norm1: AffineGrid
    qkv: AffineGrid
    context: AffineGrid
    proj: AffineGrid
    norm2: AffineGrid
    gelu: AffineGrid
    fc2: AffineGrid


@dataclass(frozen=True)
class IntegerEncoder:
    """An encoder whose every product is one of integers.

    Its first LayerNorm runs with the residual sum before it, so the encoder takes both the residual codes
    and their normalised codes, and passes both on.
    """

    heads: int
    grids: EncoderGrids
    norm1: IntegerNorm
    qkv: IntegerLinear
    softmax: IntegerSoftmax
    proj: IntegerLinear
    sum1: ResidualSum
    norm2: IntegerNorm
    fc1: IntegerLinear
    fc2: IntegerLinear
    sum2: ResidualSum

    def attend(self, normed: torch.Tensor, batch: int) -> torch.Tensor:
        """Attention codes ``[rows, channels]`` from normalised codes ``[rows, channels]``."""
        grids = self.grids
        tokens = len(normed) // batch
        qkv = self.qkv.to_codes(normed, grids.norm1, grids.qkv)
        head_dim = qkv.shape[1] // (3 * self.heads)
        lanes = torch.empty(3, batch, self.heads, tokens, head_dim)
        split_heads(qkv.view(batch, tokens, -1).numpy(), grids.qkv.zero_point, lanes.numpy())
        q, k, v = lanes.view(3, batch * self.heads, tokens, head_dim).unbind(0)
        attention = torch.bmm(q, k.transpose(1, 2))
        self.softmax(attention)
        context = torch.bmm(attention, v).view(batch, self.heads, tokens, head_dim)
        merged = torch.empty(batch, tokens, self.heads * head_dim, dtype=torch.uint8)
        factor = self.softmax.scale * grids.qkv.scale / grids.context.scale
        merge_heads(context.numpy(), factor, grids.context.zero_point, grids.context.qmax, merged.numpy())
        return merged.view(batch * tokens, -1)

    def __call__(
        self, x: torch.Tensor, normed: torch.Tensor, batch: int, following: IntegerNorm | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Runs the encoder.

        Args:
            x: Residual codes ``[batch * tokens, channels]``.
            normed: Codes of their first LayerNorm, same shape.
            batch: Images in the batch.
            following: The next encoder's first LayerNorm; None after the last encoder.

        Returns:
            Residual codes and their codes after ``following`` (the residual codes again where it is None).
        """
        grids = self.grids
        attended = self.proj.to_codes(self.attend(normed, batch), grids.context, grids.proj)
        x, normed = self.sum1.then_norm(x, attended, self.norm2)
        hidden = self.fc1.to_codes(normed, grids.norm2, grids.gelu, gelu=True)
        update = self.fc2.to_codes(hidden, grids.gelu, grids.fc2)
        if following is None:
            x = self.sum2(x, update)
            return x, x
        return self.sum2.then_norm(x, update, following)
