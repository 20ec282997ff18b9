"""The layout of Swin's published checkpoints, which is older than timm's, under timm's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

_BUFFER = re.compile(r"\.(relative_position_index|attn_mask)$")  # computed from the architecture
_MERGE = re.compile(r"^layers\.(\d+)\.downsample\.")
_PUBLISHED = "layers.0.downsample.reduction.weight"


def under_timm_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict without window buffers and with patch mergings where timm has them.

    The authors' code merges patches at the end of a stage, timm at the start of the next one. A checkpoint
    of any other layout keeps its names.
    """
    weights = {name: value for name, value in state.items() if not _BUFFER.search(name)}
    if _PUBLISHED not in weights:
        return weights
    return {_renamed(name): value for name, value in weights.items()}


def _renamed(name: str) -> str:
    if name.startswith("head."):
        return f"head.fc.{name.removeprefix('head.')}"
    return _MERGE.sub(lambda match: f"layers.{int(match[1]) + 1}.downsample.", name)
