"""The integer readout: residual codes to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bitfront.evaluators.calibration import Calibration
from bitfront.evaluators.fq_vit.stages import IntegerNorm
from bitfront.evaluators.kernels.linear import integer_linear
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.quantizers import PowerOfTwoGrid, QuantizedWeight


class IntegerReadout:
    """Final LayerNorm, pooling and classifier."""

    def __init__(
        self, blueprint: Blueprint, calibration: Calibration, weights: Sequence[QuantizedWeight], bits: int
    ) -> None:
        parts = blueprint.readout
        self._parts = parts
        last = calibration.power_of_two[f"{blueprint.encoders[-1].name}.residual2"]
        self._last = last
        self._pool: PowerOfTwoGrid | None = calibration.power_of_two.get("pool")
        self._normed = calibration.affine["norm", bits]
        self._tokens = calibration.affine.get(("norm_tokens", bits), self._normed)
        self._norm = IntegerNorm(parts.norm, self._pool or last, self._tokens)
        self._heads = [
            integer_linear(weight, head.bias) for weight, head in zip(weights, parts.heads, strict=True)
        ]
        self._logits = calibration.affine["head", bits]

    def _read(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised codes ``[batch, read, channels]`` of residual codes ``[batch, tokens, channels]``."""
        if self._parts.average is None:
            read = x[:, list(self._parts.tokens)]
            return self._norm(read.reshape(-1, read.shape[-1])).view(read.shape)
        if self._parts.norm_first:
            codes = self._norm(x.reshape(-1, x.shape[-1])).view(x.shape)[:, self._parts.average :]
            return self._normed.quantize(self._tokens.dequantize(codes).mean(1, keepdim=True))
        assert self._pool is not None
        mean = self._last.dequantize(x[:, self._parts.average :]).mean(1)
        return self._norm(self._pool.quantize(mean))[:, None]

    def __call__(self, x: torch.Tensor, batch: int) -> torch.Tensor:
        """Logits ``[batch, classes]`` on their 8-bit grid, from codes ``[batch * tokens, channels]``."""
        read = self._read(x.view(batch, -1, x.shape[-1]))
        logits = [head.to_float(read[:, i].contiguous(), self._normed) for i, head in enumerate(self._heads)]
        return self._logits.dequantize(self._logits.quantize(torch.stack(logits).mean(0)))
