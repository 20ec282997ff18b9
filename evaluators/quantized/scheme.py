"""Quantization schemes: which stages a quantized model is built of."""

from __future__ import annotations

from typing import Protocol

import torch

from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.stages import Norm, Pooling, Projection, ScoreTerms, StreamStage, Update


class Scheme(Protocol):
    """Builds the stages of a model from its blueprint and calibration.

    Bits are those of the tensor that leaves a stage; for scores, of the queries and keys that enter.
    """

    def project_patches(self, layer: FittedLayer) -> Projection:
        """The patch embedding."""

    def prefix(self) -> torch.Tensor:
        """Class, distillation and register tokens as the stream holds them, ``[prefix, channels]``."""

    def positions(self) -> StreamStage | None:
        """Adds the position embedding, where there is one."""

    def embed_norm(self) -> StreamStage | None:
        """The LayerNorm of the embedded tokens, where there is one."""

    def norm(self, index: int, number: int, bits: int) -> Norm:
        """LayerNorm 1 or 2 of encoder ``index``."""

    def updates(self, index: int) -> tuple[Update, Update]:
        """The two residual updates of encoder ``index``."""

    def scores(self, index: int, activations: int) -> ScoreTerms:
        """The scores of encoder ``index`` whose queries and keys have ``activations`` bits."""

    def merge_norm(self, index: int) -> Norm:
        """LayerNorm of the patch merging before encoder ``index``."""

    def merge_projection(self, index: int, layer: FittedLayer) -> Projection:
        """The projection of that patch merging."""

    def final_norm(self) -> Norm:
        """The final LayerNorm, of the tokens that are read."""

    def average(self, first: int) -> Pooling:
        """The final LayerNorm and the average over the tokens from ``first`` on, in the readout's order."""

    def logits(self, value: torch.Tensor) -> torch.Tensor:
        """Logits as the scheme puts them out, from the classifier's float32 output ``[batch, classes]``."""
