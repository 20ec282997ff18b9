"""One quantized encoder, assembled from prepared parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from bitfront.evaluators.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.kernels.backend import Kernels
from bitfront.evaluators.kernels.linear import IntegerLinear
from bitfront.evaluators.kernels.lookup import replace_codes
from bitfront.evaluators.quantized.stages import Norm, Tap, Update
from bitfront.evaluators.quantizers import AffineGrid


@dataclass(frozen=True, eq=False)
class EncoderGrids:
    """Grids of the codes between an encoder's products, at the chosen widths.

    Attributes:
        levels: The level that stands for each code, uint8 ``[256]``, by site (such as ``mlp.gelu``) where a
            narrow tensor takes levels; its grid is then one of 8 bits.
    """

    norm1: AffineGrid
    qkv: AffineGrid
    context: AffineGrid
    norm2: AffineGrid
    gelu: AffineGrid
    levels: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def levelled(self, site: str, codes: torch.Tensor) -> torch.Tensor:
        """The codes of a site, each replaced by its level where the site takes some."""
        table = self.levels.get(site)
        return codes if table is None else replace_codes(codes, table)


@dataclass(frozen=True)
class QuantizedEncoder:
    """An encoder whose every product is one of integers.

    Its first LayerNorm runs with the residual sum before it, so the encoder takes both the stream and its
    normalised codes, and passes both on.
    """

    name: str
    kernels: Kernels
    grids: EncoderGrids
    norm1: Norm
    qkv: IntegerLinear
    attention: AttentionTerms
    proj: IntegerLinear
    sum1: Update
    norm2: Norm
    fc1: IntegerLinear
    fc2: IntegerLinear
    sum2: Update

    def __call__(
        self,
        x: torch.Tensor,
        normed: torch.Tensor,
        batch: int,
        following: Norm | None,
        tap: Tap | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Runs the encoder.

        Args:
            x: Stream ``[batch * tokens, channels]``.
            normed: uint8 codes of its first LayerNorm, same shape.
            batch: Images in the batch.
            following: The LayerNorm that begins the next encoder; None where another stage follows.
            tap: Sees codes (float32 where the scheme keeps a tensor in float) by site.

        Returns:
            The stream and its codes after ``following``, None where there is none.
        """

        def seen(site: str, value: torch.Tensor) -> torch.Tensor:
            if tap is not None:
                tap(f"{self.name}.{site}", value)
            return value

        def attention_seen(site: str, value: torch.Tensor) -> None:
            seen(site, value)

        grids = self.grids
        normed = grids.levelled("norm1", normed)
        seen("norm1", normed)
        qkv = seen(
            "attn.qkv", self.qkv.to_codes(normed, grids.norm1, grids.qkv, levels=grids.levels.get("attn.qkv"))
        )
        inner = None if tap is None else attention_seen
        context = seen(
            "attn.context",
            grids.levelled("attn.context", self.kernels.attention(qkv, batch, self.attention, inner)),
        )
        update = seen("attn.proj", self.sum1.of(self.proj, context, grids.context))
        x, normed = self.sum1.add_norm(x, update, self.norm2)
        seen("residual1", x)
        normed = grids.levelled("norm2", normed)
        seen("norm2", normed)
        levels = grids.levels.get("mlp.gelu")
        hidden = self.fc1.to_codes(normed, grids.norm2, grids.gelu, gelu=True, levels=levels)
        hidden = seen("mlp.gelu", hidden)
        update = seen("mlp.fc2", self.sum2.of(self.fc2, hidden, grids.gelu))
        if following is None:
            return seen("residual2", self.sum2.add(x, update)), None
        x, normed = self.sum2.add_norm(x, update, following)
        return seen("residual2", x), normed
