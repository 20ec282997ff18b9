"""Scheme ``fq-vit``: the fully integer vision transformer (FQ-ViT, arXiv 2111.13824)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.sites import is_residual
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.integer_stages import (
    AverageThenNorm,
    CodeProjection,
    Grid,
    IntegerAverage,
    IntegerNorm,
    IntegerPositions,
    IntegerSum,
    NormThenAverage,
)
from bitfront.evaluators.quantized.kernels.attention_terms import IntegerScores, integer_exponentials
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.scheme import ScoreTerms
from bitfront.evaluators.quantizers.grids import PowerOfTwoGrid
from bitfront.spaces import FormatName, UserError, plain_width
from bitfront.spaces.schemes import FQ_VIT, pinned_bits

_PINNED = dict(pinned_bits(FQ_VIT))


def check_integer(blueprint: Blueprint) -> None:
    """Refuses models with parts that no integer-only arithmetic is published for.

    Raises:
        UserError: It has one; all are named.
    """
    if found := blueprint.peculiarities():
        raise UserError(
            f"scheme {FQ_VIT} is integer throughout and knows plain encoders alone, and {blueprint.name} has "
            f"{', '.join(found)}: choose --scheme deploy"
        )


@dataclass(frozen=True, eq=False)
class FqVit:
    """Power-of-two residual stream, integer LayerNorm and integer softmax; see :class:`Scheme`."""

    blueprint: Blueprint
    calibration: Calibration
    kernels: Kernels

    def __post_init__(self) -> None:
        check_integer(self.blueprint)

    def _embedded(self) -> Grid:
        """Grid of the embedded patches: their own, or the stream's where nothing is added to them."""
        site = self.blueprint.embedded_site
        if is_residual(site):
            return self.calibration.stream(site)
        return self.calibration.grid(site, _PINNED["embedding"])

    def project_patches(self, layer: FittedLayer) -> CodeProjection:
        """See :class:`Scheme`."""
        image = self.calibration.grid("image", _PINNED["embedding"])
        return CodeProjection(layer, image, self._embedded(), self.kernels)

    def patch_norm(self) -> None:
        """See :class:`Scheme`: none is supported."""

    def prefix(self) -> torch.Tensor:
        """See :class:`Scheme`."""
        return self._embedded().quantize(self.blueprint.prefix)

    def positions(self) -> IntegerPositions | None:
        """See :class:`Scheme`."""
        values = self.blueprint.positions
        if values is None:
            return None
        bits = _PINNED["embedding"]
        grid = self.calibration.grid("pos_embed", bits)
        total = self.calibration.stream("embed" if self.blueprint.embed_norm is None else "embed_sum")
        return IntegerPositions(
            values, grid, IntegerSum(self.calibration.grid("patch_embed", bits), grid, total, self.kernels)
        )

    def embed_norm(self) -> IntegerNorm | None:
        """See :class:`Scheme`."""
        parts, stream = self.blueprint.embed_norm, self.calibration.stream
        return (
            None if parts is None else IntegerNorm(parts, stream("embed_sum"), stream("embed"), self.kernels)
        )

    def norm(self, index: int, number: int, held: FormatName) -> IntegerNorm:
        """See :class:`Scheme`."""
        bits = plain_width(held, f"scheme {FQ_VIT}")
        encoder = self.blueprint.encoders[index]
        first = number == 1
        source = self.blueprint.entering(index) if first else f"{encoder.name}.residual1"
        out = self.calibration.grid(f"{encoder.name}.norm{number}", bits)
        parts = encoder.norm1 if first else encoder.norm2
        return IntegerNorm(parts, self.calibration.stream(source), out, self.kernels)

    def updates(self, index: int) -> tuple[IntegerSum, IntegerSum]:
        """See :class:`Scheme`."""
        name, bits = self.blueprint.encoders[index].name, _PINNED["residual"]
        stream, grid = self.calibration.stream, self.calibration.grid
        middle, last = stream(f"{name}.residual1"), stream(f"{name}.residual2")
        entering = stream(self.blueprint.entering(index))
        return (
            IntegerSum(entering, grid(f"{name}.attn.proj", bits), middle, self.kernels),
            IntegerSum(middle, grid(f"{name}.mlp.fc2", bits), last, self.kernels),
        )

    def scores(self, index: int, operands: FormatName) -> ScoreTerms:
        """See :class:`Scheme`."""
        activations = plain_width(operands, f"scheme {FQ_VIT}")
        encoder, bits = self.blueprint.encoders[index], _PINNED["scores"]
        grid = self.calibration.grid(f"{encoder.name}.attn.scores", bits)
        step = self.calibration.grid(f"{encoder.name}.attn.qkv", activations).scale
        bias = None
        if encoder.window is not None:
            table = self.calibration.grid(f"{encoder.name}.attn.bias", bits)
            codes = table.quantize(encoder.window.bias).double()
            bias = (codes - table.zero_point) * (table.scale / grid.scale)
        exponentials = torch.from_numpy(integer_exponentials(grid.scale, grid.qmax + 1))
        return ScoreTerms(
            step * step * encoder.score_scales / grid.scale,
            bias,
            IntegerScores(grid.zero_point, grid.qmax, exponentials.to(self.kernels.device)),
        )

    def merge_norm(self, index: int) -> IntegerNorm:
        """See :class:`Scheme`; the four tokens side by side keep their channels' exponents."""
        merge = self.blueprint.merges[index]
        stream = self.calibration.stream(f"{self.blueprint.encoders[index - 1].name}.residual2")
        side_by_side = dataclasses.replace(stream, exponents=np.tile(stream.exponents, 4))
        out = self.calibration.grid(f"{merge.name}.norm", _PINNED["embedding"])
        return IntegerNorm(merge.norm, side_by_side, out, self.kernels)

    def merge_projection(self, index: int, layer: FittedLayer) -> CodeProjection:
        """See :class:`Scheme`."""
        merge = self.blueprint.merges[index]
        source = self.calibration.grid(f"{merge.name}.norm", _PINNED["embedding"])
        out = self.calibration.stream(f"{merge.name}.reduction")
        return CodeProjection(layer, source, out, self.kernels)

    def _last(self) -> PowerOfTwoGrid:
        return self.calibration.stream(f"{self.blueprint.encoders[-1].name}.residual2")

    def final_norm(self) -> IntegerNorm:
        """See :class:`Scheme`."""
        out = self.calibration.grid("norm", _PINNED["head"])
        return IntegerNorm(self.blueprint.readout.norm, self._last(), out, self.kernels)

    def average(self, first: int) -> NormThenAverage | AverageThenNorm:
        """See :class:`Scheme`."""
        readout, calibration = self.blueprint.readout, self.calibration
        last, channels = self.blueprint.encoders[-1], len(readout.norm.weight)
        out = calibration.grid("norm", _PINNED["head"])
        if readout.norm_first:
            tokens = calibration.grid("norm_tokens", _PINNED["residual"])
            return NormThenAverage(
                IntegerNorm(readout.norm, self._last(), tokens, self.kernels),
                IntegerAverage(tokens, out, first, last.tokens, channels),
            )
        pool = calibration.stream("pool")
        return AverageThenNorm(
            IntegerAverage(self._last(), pool, first, last.tokens, channels),
            IntegerNorm(readout.norm, pool, out, self.kernels),
        )

    def attention_pool(self, layers: Mapping[str, FittedLayer]) -> NoReturn:
        """See :class:`Scheme`: none is supported, as :meth:`__post_init__` has told."""
        raise NotImplementedError(f"attention pooling in scheme {FQ_VIT}: {', '.join(layers)}")

    def logits(self, value: torch.Tensor) -> torch.Tensor:
        """See :class:`Scheme`: on their 8-bit grid."""
        grid = self.calibration.grid("head", _PINNED["head"])
        return grid.dequantize(grid.quantize(value))
