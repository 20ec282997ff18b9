"""Float fake quantization of a model: what evaluators usually run, here as the baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.parts import EncoderParts, LinearParts, MergeParts
from bitfront.evaluators.models.sites import site_format
from bitfront.evaluators.preparation.layer_fit import FITTING
from bitfront.evaluators.preparation.log_base import LOG_BITS
from bitfront.evaluators.preparation.recipes import CLIPPED_WEIGHTS, recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.weights import quantize_weight
from bitfront.spaces import BitConfig, BitfrontError, QuantSite

FakeQuantizer = Callable[[torch.Tensor], torch.Tensor]


class FakeQuantizedVit:
    """The blueprint's float forward with every tensor rounded to its grid and kept in float32.

    Weights are rounded once, to nearest, activations by torch's fused fake quantization (those on levels by
    their borders), each result put in the tapped tensor's place without a copy: as quick as float simulation
    gets in eager torch.
    """

    def __init__(self, context: EvaluationContext, config: BitConfig) -> None:
        prepared = context.prepared
        self._quantizers = {
            site.name: _fake_quantizer(site, config, prepared)
            for site in context.sites
            if site.kind != "weights" and site.name != "pos_embed" and not site.name.endswith(".bias")
        }
        recipe = recipe_named(context.spec.recipe, context.spec.without)
        if FITTING & set(recipe.ingredients):
            raise BitfrontError("weights that a recipe fits are not simulated: leave out what fits them")
        self._blueprint = _rounded(prepared, config, "mse" if CLIPPED_WEIGHTS in recipe else "minmax")

    def _tap(self, site: str, value: torch.Tensor) -> None:
        if site in self._quantizers:
            value.set_(self._quantizers[site](value))  # type: ignore[call-overload]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, classes]``."""
        return forward(self._blueprint, images.clone(), self._tap)


def _fake_quantizer(site: QuantSite, config: BitConfig, prepared: PreparedModel) -> FakeQuantizer:
    calibration = prepared.calibration
    if site.name in calibration.power_of_two:
        stream = calibration.power_of_two[site.name]
        scales = torch.from_numpy(stream.channel_scales).float()
        zeros = torch.full((len(scales),), stream.zero_point, dtype=torch.int32)
        return lambda x: torch.fake_quantize_per_channel_affine(x, scales, zeros, x.ndim - 1, 0, stream.qmax)
    bits = site_format(site, config)
    if site.kind == "attention" and bits <= LOG_BITS:
        assert site.encoder is not None, "attention lies in an encoder"
        step = prepared.log_steps[site.encoder] if bits == LOG_BITS else 1.0
        return lambda p: _logarithmic(p, bits, step)
    grid = calibration.grid(site.name, bits)
    if (site.name, bits) in calibration.codebooks:
        return _levelled(grid, calibration.codebooks[site.name, bits])
    return lambda x: torch.fake_quantize_per_tensor_affine(x, grid.scale, grid.zero_point, 0, grid.qmax)


def _logarithmic(probabilities: torch.Tensor, bits: int, step: float) -> torch.Tensor:
    """Probabilities rounded to powers of ``2^step``, zero beyond the codes of ``bits`` bits."""
    codes = probabilities.log2().div_(-step).round_()
    return torch.where(codes < 2**bits, codes.mul_(-step).exp2_(), 0.0)


def _levelled(grid: AffineGrid, levels: torch.Tensor) -> FakeQuantizer:
    """Rounds to the value of the level of each code."""
    first = torch.cat([torch.tensor([True]), levels[1:] != levels[:-1]])
    values = grid.dequantize(levels[first])
    borders = (first.nonzero().flatten()[1:] - 0.5 - grid.zero_point) * grid.scale
    return lambda x: values[torch.bucketize(x, borders)]


def _rounded(prepared: PreparedModel, config: BitConfig, ranges: str) -> Blueprint:
    blueprint = prepared.blueprint

    def rounded(parts: LinearParts, bits: int) -> LinearParts:
        found = quantize_weight(parts.weight, bits, ranges)
        return LinearParts(found.codes * found.scales[:, None], parts.bias)

    def encoder(index: int, parts: EncoderParts) -> EncoderParts:
        layers = {
            layer.rpartition(".")[2]: rounded(linear, config.encoders[index].bits("weights", layer))
            for layer, linear in parts.linear().items()
        }
        return dataclasses.replace(parts, **layers)

    def merge(parts: MergeParts) -> MergeParts:
        return dataclasses.replace(parts, reduction=rounded(parts.reduction, 8))

    readout = blueprint.readout
    return dataclasses.replace(
        blueprint,
        patch=rounded(blueprint.patch, 8),
        encoders=tuple(encoder(index, parts) for index, parts in enumerate(blueprint.encoders)),
        merges={index: merge(parts) for index, parts in blueprint.merges.items()},
        readout=dataclasses.replace(readout, heads=tuple(rounded(head, 8) for head in readout.heads)),
    )
