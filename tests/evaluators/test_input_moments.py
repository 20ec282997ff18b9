"""Second moments of the linear layers' inputs against hooks on the timm module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bitfront.evaluators import input_moments as module_under_test
from bitfront.evaluators.input_moments import input_moments
from bitfront.evaluators.models.blueprint import Blueprint

LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


@torch.inference_mode()
def moments_by_hooks(module: nn.Module, images: torch.Tensor) -> dict[tuple[int, str], torch.Tensor]:
    found: dict[tuple[int, str], torch.Tensor] = {}
    handles = []
    for key in ((index, layer) for index in range(3) for layer in LAYERS):

        def keep(_: nn.Module, inputs: tuple[torch.Tensor], key: tuple[int, str] = key) -> None:
            rows = inputs[0].double().flatten(0, 1)
            found[key] = rows.T @ rows / len(rows)

        layer = module.get_submodule(f"blocks.{key[0]}.{key[1]}")
        handles.append(layer.register_forward_pre_hook(keep))
    module(images)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("limit", [1 << 30, 100_000, 1])
def test_moments_of_all_batches_whatever_the_memory(
    blueprint: Blueprint, module: nn.Module, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(module_under_test, "MEMORY_LIMIT_BYTES", limit)
    groups = list(input_moments(blueprint, lambda: images.split(4)))
    expected = moments_by_hooks(module, images)
    # An encoder's moments take 4 bytes for each of 3 * 32^2 + 128^2 numbers: 78 kB.
    assert [sorted({index for index, _ in group}) for group in groups] == (
        [[0, 1, 2]] if limit == 1 << 30 else [[0], [1], [2]]
    )
    merged = {key: value for group in groups for key, value in group.items()}
    assert set(merged) == set(expected)
    for key, value in merged.items():
        torch.testing.assert_close(value.double(), expected[key], rtol=1e-3, atol=1e-4)
