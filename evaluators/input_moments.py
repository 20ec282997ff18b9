"""Second moments of every linear layer's input over the calibration set, for compensated rounding."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bitfront.evaluators.calibration import Batches
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward

# The tensor that enters each linear layer of an encoder.
INPUTS = {"attn.qkv": "norm1", "attn.proj": "attn.context", "mlp.fc1": "norm2", "mlp.fc2": "mlp.gelu"}
MEMORY_LIMIT_BYTES = 1 << 30


def input_moments(blueprint: Blueprint, batches: Batches) -> Iterator[dict[tuple[int, str], torch.Tensor]]:
    """Yields ``E[x x^T]`` of the linear layers, float32 ``[in, in]`` by (encoder, layer).

    Encoders are taken in groups whose moments fit in :data:`MEMORY_LIMIT_BYTES`, with one pass over the
    calibration set for each group.
    """
    for group in _groups(blueprint):
        wanted = {
            f"{blueprint.encoders[index].name}.{site}": (index, layer)
            for index in group
            for layer, site in INPUTS.items()
        }
        yield _moments(blueprint, batches, wanted)


def _groups(blueprint: Blueprint) -> list[list[int]]:
    groups: list[list[int]] = []
    room = 0
    for index, encoder in enumerate(blueprint.encoders):
        needed = sum(4 * parts.weight.shape[1] ** 2 for parts in encoder.linear().values())
        if not groups or needed > room:
            groups.append([])
            room = MEMORY_LIMIT_BYTES
        groups[-1].append(index)
        room -= needed
    return groups


@torch.inference_mode()
def _moments(
    blueprint: Blueprint, batches: Batches, wanted: dict[str, tuple[int, str]]
) -> dict[tuple[int, str], torch.Tensor]:
    sums: dict[tuple[int, str], torch.Tensor] = {}
    rows: dict[tuple[int, str], int] = {}

    def tap(site: str, value: torch.Tensor) -> None:
        key = wanted.get(site)
        if key is None:
            return
        flat = value.reshape(-1, value.shape[-1])
        product = flat.T @ flat
        sums[key] = product if key not in sums else sums[key].add_(product)
        rows[key] = rows.get(key, 0) + len(flat)

    for images in batches():
        forward(blueprint, images, tap)
    return {key: total / rows[key] for key, total in sums.items()}
