"""Autoencoders of the TAESD family, built from their weights alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bitfront.evaluators.generation.taesd import Squash, TinyBlock, load_tiny, tiny_network
from bitfront.spaces import UserError


def encoder() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        TinyBlock(4, 0),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, bias=False),
        TinyBlock(4, 8),
        nn.Conv2d(4, 2, 3, padding=1),
    )


def decoder() -> nn.Sequential:
    return nn.Sequential(
        Squash(),
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        TinyBlock(4, 8),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
        TinyBlock(4, 0),
        nn.Conv2d(4, 3, 3, padding=1),
    )


@pytest.mark.parametrize("decodes", [False, True])
def test_networks_are_rebuilt_from_their_weights(decodes: bool) -> None:
    torch.manual_seed(0)
    network = (decoder() if decodes else encoder()).eval()
    x = torch.randn(2, 2 if decodes else 3, 8, 8)
    assert torch.equal(tiny_network(network.state_dict(), decodes)(x), network(x))


def test_folders_need_both_files(tmp_path: Path) -> None:
    torch.save(encoder().state_dict(), tmp_path / "x_encoder.pth")
    with pytest.raises(UserError, match=r"0 files \*_decoder\.pth"):
        load_tiny(tmp_path, 16)
    torch.save(decoder().state_dict(), tmp_path / "x_decoder.pth")
    found = load_tiny(tmp_path, 16)
    assert [part.name for part in found.parts] == ["encoder", "decoder"]
    assert found.parts[0].genes == tuple(f"encoder.{place}" for place in range(5))


def test_other_weights_get_one_line(tmp_path: Path) -> None:
    for name in ("x_encoder.pth", "x_decoder.pth"):
        torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / name)
    with pytest.raises(UserError, match="TAESD"):
        load_tiny(tmp_path, 16)
    (tmp_path / "x_encoder.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match="no plain state dict"):
        load_tiny(tmp_path, 16)
