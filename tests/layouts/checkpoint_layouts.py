"""Checkpoints as tools write them, made from scratch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from layout import Layout, Weights
from safetensors.torch import save_file

from bitfront.evaluators.models.digits_models import load_embedded

State = dict[str, torch.Tensor]


def right() -> State:
    """The weights that are meant."""
    return {name: value.clone() for name, value in load_embedded().state_dict().items()}


def raw() -> State:
    """Weights before they are averaged: of the same names, and worse."""
    torch.manual_seed(0)
    return {name: value + 0.1 * torch.randn_like(value) for name, value in right().items()}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def saved(
    content: Callable[[], object], name: str = "model.pth", entry: str = ""
) -> Callable[[Path], Weights]:
    """Writes what torch.save makes of ``content``."""

    def make(folder: Path) -> Weights:
        torch.save(content(), folder / name)
        return Weights({"checkpoint": f"{folder / name}{entry}"})

    return make


def tensors(
    content: Callable[[], Mapping[str, torch.Tensor]], name: str = "model.safetensors", **given: Any
) -> Callable[[Path], Weights]:
    """Writes a safetensors file."""

    def make(folder: Path) -> Weights:
        save_file(dict(content()), folder / name)
        return Weights({"checkpoint": str(folder / name), **given})

    return make


CHECKPOINTS = (
    Layout("torch", "`torch.save(model.state_dict())`", saved(right)),
    Layout("safetensors", "`save_file(model.state_dict())`", tensors(right)),
    Layout("torch DDP", "every name begins with `module.`", saved(lambda: prefixed("module.", right()))),
)
