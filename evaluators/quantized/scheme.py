"""Quantization schemes: the stages that a quantized model is built of, and what they do whatever the scheme.

The residual stream is a tensor ``[rows, channels]``: uint8 codes on a power-of-two grid in a scheme that is
integer throughout, float32 values in one whose residual stream is in float. Only stages know which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from bitfront.evaluators.models.float_forward import Tap
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.attention_terms import IntegerScores
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.spaces import FormatName

# A LayerNorm that leaves the residual stream: uint8 codes [rows, channels] of a stream [rows, channels], or
# float32 values where the tensor is in a float format.
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


@dataclass(frozen=True, eq=False)
class ScoreTerms:
    """How the integer products ``q k^T`` become what the softmax takes; see :class:`AttentionTerms`."""

    factors: torch.Tensor
    bias: torch.Tensor | None
    softmax: IntegerScores | None


class Scheme(Protocol):
    """Builds the stages of a model from its blueprint and calibration.

    Bits are those of the tensor that leaves a stage; for scores, of the queries and keys that enter.
    """

    def project_patches(self, layer: FittedLayer) -> Projection:
        """The patch embedding."""

    def patch_norm(self) -> StreamStage | None:
        """The norm of the embedded patches, where there is one."""

    def prefix(self) -> torch.Tensor:
        """Class, distillation and register tokens as the stream holds them, ``[prefix, channels]``."""

    def positions(self) -> StreamStage | None:
        """Adds the position embedding, where there is one."""

    def embed_norm(self) -> StreamStage | None:
        """The LayerNorm of the embedded tokens, where there is one."""

    def norm(self, index: int, number: int, held: FormatName) -> Norm:
        """LayerNorm 1 or 2 of encoder ``index``, its output in a format that the scheme computes with."""

    def updates(self, index: int) -> tuple[Update, Update]:
        """The two residual updates of encoder ``index``."""

    def scores(self, index: int, operands: FormatName) -> ScoreTerms:
        """The scores of encoder ``index``, by the format of its queries and keys."""

    def merge_norm(self, index: int) -> Norm:
        """LayerNorm of the patch merging before encoder ``index``."""

    def merge_projection(self, index: int, layer: FittedLayer) -> Projection:
        """The projection of that patch merging."""

    def final_norm(self) -> Norm:
        """The final LayerNorm, of the tokens that are read."""

    def average(self, first: int) -> Pooling:
        """The final LayerNorm and the average over the tokens from ``first`` on, in the readout's order."""

    def attention_pool(self, layers: Mapping[str, FittedLayer]) -> Pooling:
        """Attention pooling of the normalised tokens, by its linear layers."""

    def logits(self, value: torch.Tensor) -> torch.Tensor:
        """Logits as the scheme puts them out, from the classifier's float32 output ``[batch, classes]``."""
