"""Which tensors of a quantized model lie on which grid, in either scheme."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from quantized_stages import FLOATS, Grid

from bitfront.evaluators.models.sites import FOLLOWS
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.quantizers.grids import PowerOfTwoGrid
from bitfront.spaces import BitConfig

PINNED = 8
# Scheme deploy quantizes the operands of its products alone; the rest stays in floating point.
OPERANDS = {"image", "norm1", "attn.qkv", "attn.softmax", "attn.context", "norm2", "mlp.gelu", "norm"}
# Of attention pooling, by the last part of their names.
OPERANDS |= {"context", "gelu", "pooled"}
# Inputs of LayerNorms have power-of-two factors.
STREAM = {"embed_sum", "embed", "residual1", "residual2", "reduction", "pool"}


class SiteGrids:
    """The grid of every site of one configuration; None where the scheme has floating-point values."""

    def __init__(self, calibration: Calibration, config: BitConfig) -> None:
        self._calibration = calibration
        self._config = config

    def outer(self, site: str) -> Grid | None:
        """Grid of a site outside the encoders, or of a pinned one, by its full name."""
        kind = site.rpartition(".")[2]
        if self._config.scheme == "deploy" and kind not in OPERANDS:
            return None
        return (
            self._calibration.power_of_two[site] if kind in STREAM else self._calibration.affine[site, PINNED]
        )

    def inner(self, index: int, site: str) -> Grid | None:
        """Grid of a site of encoder ``index``: at the activation bits of the layer it follows, if any."""
        bits = self._config.encoders[index]
        if site == "attn.softmax" or site in FOLLOWS:
            held = bits.attention if site not in FOLLOWS else bits.bits("activations", FOLLOWS[site])
            return FLOATS[held] if held in FLOATS else self._calibration.affine[f"{bits.name}.{site}", held]
        return self.outer(f"{bits.name}.{site}")

    def levels(self, index: int, site: str) -> torch.Tensor | None:
        """The level that stands for each code of a site of encoder ``index``; None where codes stay."""
        if site not in FOLLOWS:
            return None
        bits = self._config.encoders[index]
        return self._calibration.codebooks.get(
            (f"{bits.name}.{site}", bits.bits("activations", FOLLOWS[site]))
        )

    def attention_bits(self, index: int) -> int | None:
        """Attention bits of encoder ``index``; None where it stays floats."""
        held = self._config.encoders[index].attention
        return held if isinstance(held, int) else None


def tiled(grid: Grid | None, copies: int) -> PowerOfTwoGrid | None:
    """The grid of channels put side by side ``copies`` times."""
    if not isinstance(grid, PowerOfTwoGrid):
        return None
    return dataclasses.replace(grid, exponents=np.tile(grid.exponents, copies))
