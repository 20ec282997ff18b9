"""Scheme ``deploy``: what CPU and GPU runtimes execute, integer matrix products between float stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import Tap
from bitfront.evaluators.models.float_stages import ACTIVATIONS, normed, pooled_values
from bitfront.evaluators.models.parts import NormParts, PoolParts
from bitfront.evaluators.models.sites import POOL_INPUTS
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.kernels.norm_terms import FloatNormTerms
from bitfront.evaluators.quantized.mixed import FloatNormed
from bitfront.evaluators.quantized.scheme import Norm, ScoreTerms
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.spaces import FormatName
from bitfront.spaces.schemes import DEPLOY, pinned_bits

_PINNED = dict(pinned_bits(DEPLOY))


@dataclass(frozen=True, eq=False)
class Deploy:
    """Linear layers and attention products in integers, everything else in float32; see :class:`Scheme`."""

    blueprint: Blueprint
    calibration: Calibration
    kernels: Kernels

    def project_patches(self, layer: FittedLayer) -> FloatProjection:
        """See :class:`Scheme`."""
        image = self.calibration.grid("image", _PINNED["embedding"])
        return FloatProjection(layer, image, self.kernels)

    def patch_norm(self) -> FloatStreamNorm | None:
        """See :class:`Scheme`."""
        return _stream_norm(self.blueprint.patch_norm)

    def prefix(self) -> torch.Tensor:
        """See :class:`Scheme`."""
        return self.blueprint.prefix

    def positions(self) -> FloatPositions | None:
        """See :class:`Scheme`."""
        values = self.blueprint.positions
        return None if values is None else FloatPositions(values)

    def embed_norm(self) -> FloatStreamNorm | None:
        """See :class:`Scheme`."""
        return _stream_norm(self.blueprint.embed_norm)

    def norm(self, index: int, number: int, held: FormatName) -> FloatNorm | FloatCodes | FloatNormed:
        """See :class:`Scheme`."""
        encoder = self.blueprint.encoders[index]
        parts = None if encoder.post_norm else encoder.norm1 if number == 1 else encoder.norm2
        if not isinstance(held, int):
            return FloatNormed(parts, held)
        return self._codes_of(parts, self.calibration.grid(f"{encoder.name}.norm{number}", held))

    def _codes_of(self, parts: NormParts | None, grid: AffineGrid) -> FloatNorm | FloatCodes:
        """A norm with quantized output; kernels have LayerNorm alone."""
        if parts is not None and parts.centred:
            return FloatNorm(parts, grid, self.kernels)
        return FloatCodes(parts, grid)

    def updates(self, index: int) -> tuple[FloatSum, FloatSum]:
        """See :class:`Scheme`."""
        encoder = self.blueprint.encoders[index]
        norms = (encoder.norm1, encoder.norm2) if encoder.post_norm else (None, None)
        return FloatSum(self.kernels, norms[0]), FloatSum(self.kernels, norms[1])

    def scores(self, index: int, operands: FormatName) -> ScoreTerms:
        """See :class:`Scheme`."""
        encoder = self.blueprint.encoders[index]
        step = self.calibration.steps(f"{encoder.name}.attn.qkv", operands).scale
        bias = None if encoder.window is None else encoder.window.bias
        return ScoreTerms(step * step * encoder.score_scales, bias, None)

    def merge_norm(self, index: int) -> FloatNorm | FloatCodes:
        """See :class:`Scheme`."""
        merge = self.blueprint.merges[index]
        return self._codes_of(None if merge.post_norm else merge.norm, self._merge_grid(index))

    def merge_projection(self, index: int, layer: FittedLayer) -> FloatProjection:
        """See :class:`Scheme`."""
        merge = self.blueprint.merges[index]
        norm = merge.norm if merge.post_norm else None
        return FloatProjection(layer, self._merge_grid(index), self.kernels, norm)

    def _merge_grid(self, index: int) -> AffineGrid:
        return self.calibration.grid(f"{self.blueprint.merges[index].name}.norm", _PINNED["embedding"])

    def final_norm(self) -> FloatNorm | FloatCodes:
        """See :class:`Scheme`."""
        return self._codes_of(self.blueprint.readout.norm, self.calibration.grid("norm", _PINNED["head"]))

    def average(self, first: int) -> FloatAverage:
        """See :class:`Scheme`."""
        readout = self.blueprint.readout
        out = self.calibration.grid("norm", _PINNED["head"])
        return FloatAverage(readout.norm, out, first, norm_first=readout.norm_first)

    def attention_pool(self, layers: Mapping[str, FittedLayer]) -> FloatAttentionPool:
        """See :class:`Scheme`."""
        parts, sites = self.blueprint.readout.pool, (*POOL_INPUTS, self.blueprint.readout.read_site)
        assert parts is not None, "asked for where there is one"
        grids = {site: self.calibration.grid(site, _PINNED["head"]) for site in sites}
        linear = {
            name: self.kernels.linear(layers[name].quantized, layers[name].bias) for name in parts.linear()
        }
        return FloatAttentionPool(parts, self.final_norm(), grids, linear)

    def logits(self, value: torch.Tensor) -> torch.Tensor:
        """See :class:`Scheme`: as they are."""
        return value


# The stages of its float32 residual stream; only what enters a matrix product is in integers.


class FloatNorm:
    """Float LayerNorm with quantized output."""

    def __init__(self, parts: NormParts, out: AffineGrid, kernels: Kernels) -> None:
        self._kernels = kernels
        self.terms = FloatNormTerms(parts.weight, parts.bias, parts.eps, out.scale, out.zero_point, out.qmax)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of float32 ``[rows, channels]``."""
        return self._kernels.float_norm(x, self.terms)


@dataclass(frozen=True, eq=False)
class FloatCodes:
    """Quantizes the stream, normalised where ``parts`` are given, as kernels of no set do in one pass."""

    parts: NormParts | None
    out: AffineGrid

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of float32 ``[rows, channels]``."""
        return self.out.quantize(x if self.parts is None else normed(x, self.parts))


@dataclass(frozen=True, eq=False)
class FloatSum:
    """Adds a linear layer's float32 output to the stream, normalised where ``norm`` is given."""

    kernels: Kernels
    norm: NormParts | None = None

    def of(self, layer: IntegerLinear, codes: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
        """float32 output of the layer."""
        return layer.to_float(codes, grid)

    def add(self, x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return x + (update if self.norm is None else normed(update, self.norm))

    def add_norm(
        self, x: torch.Tensor, update: torch.Tensor, following: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum and the codes of what follows."""
        if self.norm is None and isinstance(following, FloatNorm):
            return self.kernels.float_add_norm(x, update, following.terms)
        total = self.add(x, update)
        return total, following(total)


class FloatProjection:
    """A linear layer whose float32 output, normalised where ``norm`` is given, begins the stream."""

    def __init__(
        self, layer: FittedLayer, source: AffineGrid, kernels: Kernels, norm: NormParts | None = None
    ) -> None:
        self._layer = kernels.linear(layer.quantized, layer.bias)
        self._source, self._norm = source, norm

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """float32 ``[rows, out]`` from codes ``[rows, in]``."""
        value = self._layer.to_float(codes, self._source)
        return value if self._norm is None else normed(value, self._norm)


@dataclass(frozen=True, eq=False)
class FloatPositions:
    """Adds the position embedding to every image's tokens."""

    positions: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The sum, ``[rows, channels]``."""
        return (x.view(-1, *self.positions.shape) + self.positions).view_as(x)


@dataclass(frozen=True, eq=False)
class FloatStreamNorm:
    """A float norm within the stream."""

    parts: NormParts

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32, same shape."""
        return normed(x, self.parts)


def _stream_norm(parts: NormParts | None) -> FloatStreamNorm | None:
    return None if parts is None else FloatStreamNorm(parts)


@dataclass(frozen=True, eq=False)
class FloatAttentionPool:
    """Attention pooling: integer layers, between them the one query's attention in float32.

    Attributes:
        parts: The float pooling.
        norm: The final norm, with quantized output.
        grids: Of the layers' inputs and of what is pooled, by site.
        linear: Its layers by name.
    """

    parts: PoolParts
    norm: Norm
    grids: Mapping[str, AffineGrid]
    linear: Mapping[str, IntegerLinear]

    def __call__(self, x: torch.Tensor, tap: Tap) -> torch.Tensor:
        """Codes ``[batch, 1, channels]`` of a stream ``[batch, tokens, channels]``."""
        parts, grids = self.parts, self.grids
        x = x[:, parts.first :]
        batch = len(x)

        def layer(site: str, codes: torch.Tensor) -> torch.Tensor:
            tap(site, codes)
            return self.linear[POOL_INPUTS[site]].to_float(codes, grids[site])

        kv = layer("norm", self.norm(x.reshape(-1, x.shape[-1])))
        context = pooled_values(parts, kv.view(batch, -1, kv.shape[-1]))[:, 0]
        token = layer("pool.context", grids["pool.context"].quantize(context))
        source = token if parts.norm is None else normed(token, parts.norm)
        inner = ACTIVATIONS[parts.activation](layer("pool.norm", grids["pool.norm"].quantize(source)))
        token = token + layer("pool.gelu", grids["pool.gelu"].quantize(inner))
        return grids["pooled"].quantize(token)[:, None]


class FloatAverage:
    """The average of the tokens, normalised before or after, on the classifier's grid."""

    def __init__(self, parts: NormParts, out: AffineGrid, first: int, *, norm_first: bool) -> None:
        self._parts, self._out, self._first, self._norm_first = parts, out, first, norm_first

    def __call__(self, x: torch.Tensor, tap: Tap) -> torch.Tensor:  # noqa: ARG002 - floats until the last
        """Codes ``[batch, 1, channels]`` of a stream ``[batch, tokens, channels]``."""
        if self._norm_first:
            return self._out.quantize(normed(x, self._parts)[:, self._first :].mean(1, keepdim=True))
        return self._out.quantize(normed(x[:, self._first :].mean(1, keepdim=True), self._parts))
