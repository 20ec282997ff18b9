"""Quantization schemes: which stages a quantized model is built of, and the one of a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.stages import Norm, Pooling, Projection, ScoreTerms, StreamStage, Update
from bitfront.spaces.schemes import DEPLOY, FQ_VIT, check_scheme


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


def scheme_named(name: str, blueprint: Blueprint, calibration: Calibration, kernels: Kernels) -> Scheme:
    """The scheme of that name for a model; raises :class:`UserError` for an unknown one."""
    from bitfront.evaluators.quantized.deploy import Deploy
    from bitfront.evaluators.quantized.fq_vit import FqVit

    check_scheme(name)
    made_by: dict[str, Callable[[Blueprint, Calibration, Kernels], Scheme]] = {FQ_VIT: FqVit, DEPLOY: Deploy}
    return made_by[name](blueprint, calibration, kernels)
