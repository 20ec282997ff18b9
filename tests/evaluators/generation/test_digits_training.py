"""The embedded example: its training is the same by the same seed, and its weights are small and load."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("diffusers", reason="diffusers is of the extra `generation`")

from bitfront.evaluators.generation.digits_dit import load_parts
from bitfront.evaluators.generation.digits_training import train_generator
from bitfront.spaces import UserError


def test_the_same_seed_trains_the_same_weights(tmp_path: Path) -> None:
    files = [tmp_path / f"{place}.safetensors" for place in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        found = train_generator(file, seed=seed, steps=(1, 1))
        assert found.size_bytes == file.stat().st_size
    first, again, other = (load_file(file) for file in files)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    transformer, vae = load_parts(files[0])
    assert not transformer.training
    assert vae.config.scaling_factor > 0.0  # type: ignore[union-attr, operator]


def test_the_shipped_weights_are_small() -> None:
    file = Path(str(resources.files("bitfront.evaluators.generation") / "weights" / "digits_dit.safetensors"))
    assert file.stat().st_size <= 4_000_000
    load_parts()


def test_other_weights_get_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="bitfront train --model digits_dit"):
        load_parts(tmp_path / "x.safetensors")
