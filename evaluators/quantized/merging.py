"""Quantized patch merging: four neighbouring tokens become one."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitfront.evaluators.quantized.stages import Norm, Projection, Tap, unseen


@dataclass(frozen=True)
class QuantizedMerging:
    """Puts tokens side by side, normalises and projects them.

    Attributes:
        name: The module's path, for taps.
        rows: Which tokens of an image are put side by side, int32 ``[tokens_out, 4]``.
        norm: LayerNorm over their channels.
        projection: Onto the stream that leaves.
    """

    name: str
    rows: torch.Tensor
    norm: Norm
    projection: Projection

    def __call__(self, x: torch.Tensor, batch: int, tap: Tap = unseen) -> torch.Tensor:
        """Stream ``[batch * tokens_out, 2 * channels]`` from ``[batch * tokens, channels]``."""
        channels = x.shape[1]
        side_by_side = x.view(batch, -1, channels).index_select(1, self.rows.flatten())
        normed = self.norm(side_by_side.view(-1, self.rows.shape[1] * channels))
        tap(f"{self.name}.norm", normed)
        x = self.projection(normed)
        tap(f"{self.name}.reduction", x)
        return x
