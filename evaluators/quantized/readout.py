"""The quantized readout: residual stream to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bitfront.evaluators.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.scheme import Scheme
from bitfront.evaluators.quantized.stages import Norm, Pooling, Tap, unseen
from bitfront.evaluators.quantizers import AffineGrid


class TokenReader:
    """Normalises the tokens that are read."""

    def __init__(self, norm: Norm, tokens: Sequence[int]) -> None:
        self._norm, self._tokens = norm, list(tokens)

    def __call__(self, x: torch.Tensor, tap: Tap) -> torch.Tensor:  # noqa: ARG002 - no site between
        """Codes ``[batch, read, channels]`` of a stream ``[batch, tokens, channels]``."""
        read = x[:, self._tokens]
        return self._norm(read.reshape(-1, read.shape[-1])).view(read.shape)


class QuantizedReadout:
    """Final LayerNorm, pooling and classifier.

    Args:
        scheme: Builds the stages.
        tokens: Tokens that are read.
        average: First token of the average that is read instead, or None.
        heads: One classifier for each token read.
        normed: Grid of their input.
    """

    def __init__(
        self,
        scheme: Scheme,
        tokens: Sequence[int],
        average: int | None,
        heads: Sequence[IntegerLinear],
        normed: AffineGrid,
    ) -> None:
        self._scheme = scheme
        self._pool: Pooling = (
            TokenReader(scheme.final_norm(), tokens) if average is None else scheme.average(average)
        )
        self._heads = heads
        self._normed = normed

    def __call__(self, x: torch.Tensor, batch: int, tap: Tap = unseen) -> torch.Tensor:
        """Logits ``[batch, classes]`` from a stream ``[batch * tokens, channels]``."""
        read = self._pool(x.view(batch, -1, x.shape[-1]), tap)
        tap("norm", read)
        logits = [head.to_float(read[:, i].contiguous(), self._normed) for i, head in enumerate(self._heads)]
        result = self._scheme.logits(torch.stack(logits).mean(0))
        tap("head", result)
        return result
