"""Writing of weights: float16 safetensors with their origin in the header, complete or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from bitfront.evaluators.files import write_atomically


def round_to_half(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous float16 copies of all tensors."""
    return {name: value.detach().half().contiguous() for name, value in state.items()}


def write_weights(state: Mapping[str, torch.Tensor], path: Path, facts: Mapping[str, object]) -> None:
    """Writes tensors, with ``facts`` as JSON strings in the header; the file appears only when complete.

    Raises:
        UserError: The folder does not exist or cannot be written.
        BitfrontError: The disk is full.
    """
    from safetensors.torch import save

    header = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    content = save(dict(state), metadata=header)
    write_atomically(path, content)
