"""What the stages of a quantized model do, whatever the scheme.

The residual stream is a tensor ``[rows, channels]``: uint8 codes on a power-of-two grid in a scheme that is
integer throughout, float32 values in one whose residual stream is in float. Only stages know which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from bitfront.evaluators.quantized.kernels.attention_terms import IntegerScores
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantizers.grids import AffineGrid

Tap = Callable[[str, torch.Tensor], None]
# A LayerNorm that leaves the residual stream: uint8 codes [rows, channels] of a stream [rows, channels].
Norm = Callable[[torch.Tensor], torch.Tensor]
# A linear layer whose output begins a residual stream: [rows, out] from uint8 codes [rows, in].
Projection = Callable[[torch.Tensor], torch.Tensor]
# A step of the residual stream: a stream from a stream.
StreamStage = Callable[[torch.Tensor], torch.Tensor]
# What the classifier reads: uint8 codes [batch, read, channels] of a stream [batch, tokens, channels].
Pooling = Callable[[torch.Tensor, Tap], torch.Tensor]


class Update(Protocol):
    """A residual update: what a linear layer adds to the stream."""

    def of(self, layer: IntegerLinear, codes: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
        """The layer's output as this scheme adds it, from codes ``[rows, in]`` on ``grid``."""

    def add(self, x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        """The stream after the update."""

    def add_norm(
        self, x: torch.Tensor, update: torch.Tensor, following: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The stream after the update and the codes of its LayerNorm, in one pass."""


def unseen(site: str, value: torch.Tensor) -> None:
    """The tap that looks at nothing."""


@dataclass(frozen=True, eq=False)
class ScoreTerms:
    """How the integer products ``q k^T`` become what the softmax takes; see :class:`AttentionTerms`."""

    factors: torch.Tensor
    bias: torch.Tensor | None
    softmax: IntegerScores | None
