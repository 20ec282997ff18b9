"""A quantized model that learns: all of its encoders, between stages that stay as they are."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from bitfront.evaluators.models import float_stages
from bitfront.evaluators.models.parts import NormParts, PoolParts
from bitfront.evaluators.models.sites import FOLLOWS, POOL_INPUTS
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.linear import integer_bias
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.training.refinement.encoder import LearnedEncoder
from bitfront.evaluators.training.refinement.fake_quantization import rounded
from bitfront.evaluators.training.refinement.products import quick_products
from bitfront.spaces import BitConfig, plain_width
from bitfront.spaces.schemes import DEPLOY, pinned_bits

_PINNED = dict(pinned_bits(DEPLOY))


class FixedLinear(nn.Module):
    """A quantized linear layer outside the encoders, which stays as it is; gradients pass."""

    def __init__(self, fitted: FittedLayer, grid: AffineGrid) -> None:
        super().__init__()
        weight = fitted.quantized
        self._codes = weight.codes.float()
        self._factors = weight.scales * grid.scale
        self._bias = integer_bias(fitted.bias, weight.scales, grid.scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 ``[rows, out]`` at codes less their zero point ``[rows, in]``."""
        return F.linear(x, self._codes) * self._factors + self._bias


class LearnedModel(nn.Module):
    """The model of one configuration of scheme ``deploy``.

    Args:
        prepared: The model as it is, its codes kept, at the configuration's widths.
        calibrated: What it was prepared from.
        config: Its bits.
    """

    def __init__(self, prepared: PreparedModel, calibrated: CalibratedModel, config: BitConfig) -> None:
        super().__init__()
        self._prepared, self._calibrated, self._config = prepared, calibrated, config
        blueprint, grid = calibrated.blueprint, calibrated.calibration.grid
        self._blueprint = blueprint
        self.encoders = nn.ModuleList(self._encoder(index) for index in range(len(blueprint.encoders)))
        self._merges = {
            index: FixedLinear(
                prepared.fitted_outer(f"{merge.name}.reduction"),
                grid(f"{merge.name}.norm", _PINNED["embedding"]),
            )
            for index, merge in blueprint.merges.items()
        }
        self._out = grid(blueprint.readout.read_site, _PINNED["head"])
        self._pool = {
            layer: FixedLinear(prepared.fitted_outer(layer), grid(site, _PINNED["head"]))
            for site, layer in (POOL_INPUTS.items() if blueprint.readout.pool is not None else ())
        }
        self._heads = [
            FixedLinear(prepared.fitted_outer(f"head.{number}"), self._out)
            for number in range(len(blueprint.readout.heads))
        ]

    def _encoder(self, index: int) -> LearnedEncoder:
        bits, parts = self._config.encoders[index], self._blueprint.encoders[index]
        stages = self._prepared.encoder(bits)
        layers = {
            layer: self._prepared.fitted(
                index, layer, bits.bits("weights", layer), bits.bits("activations", layer)
            )
            for layer in parts.linear()
        }
        return LearnedEncoder(parts, layers, stages.grids, stages.codebooks, stages.attention)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """The stream ``[batch * tokens, channels]`` of normalised images."""
        return self._prepared.embedding(images)

    def advance(self, index: int, x: torch.Tensor, batch: int) -> torch.Tensor:
        """The stream behind encoder ``index`` and its patch merging."""
        if index in self._merges:
            merge = self._blueprint.merges[index]
            side = merge.neighbours(x.view(batch, -1, x.shape[1])).flatten(0, 1)
            grid = self._calibrated.calibration.grid(f"{merge.name}.norm", _PINNED["embedding"])
            x = _quantized(side, grid, None if merge.post_norm else merge.norm)
            x = self._merges[index](x)
            if merge.post_norm:
                x = float_stages.normed(x, merge.norm)
        found: torch.Tensor = self.encoders[index](x, batch)
        return found

    def read(self, x: torch.Tensor, batch: int) -> torch.Tensor:
        """Logits ``[batch, classes]`` of the last stream."""
        readout, x = self._blueprint.readout, x.view(batch, -1, x.shape[-1])
        if readout.pool is not None:
            normed = self._pooled(readout.pool, x)
        elif readout.average is None:
            normed = _quantized(x[:, list(readout.tokens)], self._out, readout.norm)
        else:
            if readout.norm_first:
                value = float_stages.normed(x, readout.norm)[:, readout.average :].mean(1, keepdim=True)
            else:
                value = float_stages.normed(x[:, readout.average :].mean(1, keepdim=True), readout.norm)
            normed = _quantized(value, self._out)
        return torch.stack([head(normed[:, i]) for i, head in enumerate(self._heads)]).mean(0)

    def _pooled(self, pool: PoolParts, x: torch.Tensor) -> torch.Tensor:
        """Codes less their zero point of what attention pooling makes of the stream."""

        def layer(site: str, value: torch.Tensor, norm: NormParts | None = None) -> torch.Tensor:
            grid = self._calibrated.calibration.grid(site, _PINNED["head"])
            found: torch.Tensor = self._pool[POOL_INPUTS[site]](_quantized(value, grid, norm))
            return found

        kv = layer("norm", x[:, pool.first :], self._blueprint.readout.norm)
        with quick_products(False):  # of floats
            context = float_stages.pooled_values(pool, kv)
        token = layer("pool.context", context)
        inner = layer("pool.norm", token if pool.norm is None else float_stages.normed(token, pool.norm))
        token = token + layer("pool.gelu", float_stages.ACTIVATIONS[pool.activation](inner))
        return _quantized(token, self._out)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, classes]`` of normalised images ``[batch, channels, rows, columns]``."""
        x = self.embed(images)
        for index in range(len(self.encoders)):
            x = self.advance(index, x, len(images))
        return self.read(x, len(images))

    def result(self) -> CalibratedModel:
        """What it has become: an ordinary calibrated model, of this configuration's layers alone."""
        old = self._calibrated
        parts, layers, affine = [], {}, dict(old.calibration.affine)
        for index, (encoder, bits) in enumerate(zip(self.encoders, self._config.encoders, strict=True)):
            assert isinstance(encoder, LearnedEncoder), "no other module is among them"
            parts.append(encoder.parts())
            for site, grid in encoder.grids().items():
                width = plain_width(bits.bits("activations", FOLLOWS[site]), "refining")
                affine[f"{bits.name}.{site}", width] = grid
            for layer, fitted in encoder.layers().items():
                key = (index, layer, bits.bits("weights", layer), bits.bits("activations", layer))
                layers[key] = fitted
        blueprint = dataclasses.replace(self._blueprint, encoders=tuple(parts))
        calibration = dataclasses.replace(old.calibration, affine=affine)
        return CalibratedModel(blueprint, calibration, layers, old.log_steps)


def _quantized(x: torch.Tensor, grid: AffineGrid, norm: NormParts | None = None) -> torch.Tensor:
    """Codes less their zero point of a tensor, normalised where ``norm`` is given."""
    value = x if norm is None else float_stages.normed(x, norm)
    return rounded(value / grid.scale, grid, None)
