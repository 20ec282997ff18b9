"""Tiny autoencoders of the TAESD family, built from the names and shapes of their weights (TAESD, TAEF2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from bitfront.evaluators.generation.autoencoder_pipeline import AutoencoderPipeline, blocks_of
from bitfront.spaces import UserError

ENCODER, DECODER = "*_encoder.pth", "*_decoder.pth"
# Of the normalization in a pooled branch; latents are squashed to within +-3 before they are decoded.
GROUPS, LARGEST_LATENT = 4, 3.0
_WHOLE = re.compile(r"(\d+)\.")


class TinyBlock(nn.Module):
    """Three convolutions beside a skip, and before them a branch at one pixel where there is one.

    Args:
        channels: Of input and output.
        pooled: Channels of that branch; 0 for none.
    """

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])
        self.pool: nn.Sequential | None = None
        if pooled:
            self.pool = nn.Sequential(
                nn.Conv2d(channels, pooled, 1, bias=False),
                nn.GroupNorm(GROUPS, pooled),
                nn.ReLU(),
                nn.Conv2d(pooled, channels, 1, bias=False),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 ``[n, channels, h, w]`` to the same."""
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Squash(nn.Module):
    """Latents to within three of zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``tanh(x / 3) * 3``."""
        return torch.tanh(x / LARGEST_LATENT) * LARGEST_LATENT


def tiny_network(state: Mapping[str, torch.Tensor], decoder: bool) -> nn.Sequential:
    """The network that has weights of these names.

    Args:
        state: By name; what stands before the first dot is the place of a layer.
        decoder: Whether convolutions without bias stand behind an enlargement, or else halve the picture.

    Raises:
        UserError: There is none.
    """
    places = sorted({int(found.group(1)) for name in state if (found := _WHOLE.match(name))})
    layers = nn.Sequential()
    try:
        for place in range(places[-1] + 1):
            layers.append(_layer(state, place, decoder))
        layers.load_state_dict({name: value.float() for name, value in state.items()})
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise UserError(
            "the weights are of no autoencoder of the TAESD family: expected blocks of three convolutions, "
            "as madebyollin/taesd has them"
        ) from error
    return layers.eval().requires_grad_(False)


def _layer(state: Mapping[str, torch.Tensor], place: int, decoder: bool) -> nn.Module:
    """What stands at a place: a block, a convolution, or what has no weights."""
    if f"{place}.conv.0.weight" in state:
        pool = state.get(f"{place}.pool.0.weight")
        return TinyBlock(len(state[f"{place}.conv.0.weight"]), 0 if pool is None else len(pool))
    if f"{place}.weight" in state:
        weight, bias = state[f"{place}.weight"], f"{place}.bias" in state
        stride = 1 if bias or decoder else 2
        return nn.Conv2d(weight.shape[1], weight.shape[0], 3, stride=stride, padding=1, bias=bias)
    if place == 0:
        return Squash()
    return (
        nn.Upsample(scale_factor=2)
        if f"{place + 1}.bias" not in state and _is_plain(state, place + 1)
        else nn.ReLU()
    )


def _is_plain(state: Mapping[str, torch.Tensor], place: int) -> bool:
    return f"{place}.weight" in state


def read_plain_weights(path: Path) -> dict[str, torch.Tensor]:
    """A plain state dict; nothing in the file is run.

    Raises:
        UserError: It is none.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes of the reader
        raise UserError(
            f"{path} is no plain state dict ({type(error).__name__}): save it with torch.save"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UserError(f"{path} is no plain state dict: expected tensors by name")
    return {str(name): value for name, value in found.items()}


def is_tiny(folder: Path) -> bool:
    """Whether a folder has the two files of such an autoencoder, or one of them."""
    return any(folder.glob(ENCODER)) or any(folder.glob(DECODER))


def load_tiny(folder: Path, side: int) -> AutoencoderPipeline:
    """The autoencoder of a folder with ``NAME_encoder.pth`` and ``NAME_decoder.pth``.

    Raises:
        UserError: One of them is missing, or is something else.
    """
    networks = []
    for pattern in (ENCODER, DECODER):
        files = sorted(folder.glob(pattern))
        if len(files) != 1:
            raise UserError(
                f"{folder} has {len(files)} files {pattern}: expected one encoder and one decoder"
            )
        network = tiny_network(read_plain_weights(files[0]), pattern == DECODER)
        networks.append((network, blocks_of(network, "")))
    return AutoencoderPipeline(folder.resolve().name, networks[0], networks[1], signed=False, side=side)
