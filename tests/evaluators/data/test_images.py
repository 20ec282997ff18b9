"""Preprocessed images: timm's own preprocessing, normalisation, and images that cannot be read."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

RGB = {
    "input_size": (3, 24, 24),
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.9,
    "crop_mode": "center",
}
GREY = {**RGB, "input_size": (1, 16, 16), "mean": (0.3,), "std": (0.4,), "crop_pct": 1.0}


def write_photos(folder: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    for index in range(count):
        path = folder / "cat" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    (folder / "dog").mkdir()


def test_pixels_and_normalisation_are_timms(tmp_path: Path) -> None:
    ensure_torchvision()
    import timm.data

    write_photos(tmp_path, 3)
    source = open_source(str(tmp_path))
    images = load_images(source, [2, 0, 1], RGB)
    assert images.pixels.dtype == torch.uint8
    assert images.pixels.shape == (3, 3, 24, 24)
    assert images.indices.tolist() == [2, 0, 1]
    reference = timm.data.create_transform(**RGB, is_training=False)  # normalises by itself
    (batch, labels), (last, _) = images.batches(2)
    assert batch.dtype == torch.float32
    assert labels.tolist() == [0, 0]
    torch.testing.assert_close(batch[0], reference(source.load(2)), rtol=0, atol=1e-5)
    torch.testing.assert_close(last[0], reference(source.load(1)), rtol=0, atol=1e-5)


def test_greyscale_scans_for_either_channel_count() -> None:
    grey = load_images(DigitsSource(), np.arange(5), GREY)
    assert grey.pixels.shape == (5, 1, 16, 16)
    assert grey.labels.tolist() == [0, 1, 2, 3, 4]
    assert load_images(DigitsSource(), np.arange(5), RGB).pixels.shape == (5, 3, 24, 24)


def test_corrupt_images_are_named_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_photos(tmp_path, 4)
    bad = tmp_path / "cat" / "1.png"
    bad.write_bytes(bad.read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        images = load_images(open_source(str(tmp_path)), range(4), RGB)
    assert len(images) == 3
    assert images.indices.tolist() == [0, 2, 3]
    assert len(images.skipped) == 1
    assert str(bad) in images.skipped[0]
    assert str(bad) in caplog.text


def test_mostly_corrupt_images_are_refused(tmp_path: Path) -> None:
    write_photos(tmp_path, 3)
    for index in (0, 2):
        (tmp_path / "cat" / f"{index}.png").write_text("no image")
    with pytest.raises(UserError, match=r"2 of 3 images .* cannot be read \(first: .*0\.png: not an image"):
        load_images(open_source(str(tmp_path)), range(3), RGB)


def test_slivers_are_not_blown_up(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    Image.new("RGB", (30_000, 1)).save(tmp_path / "cat" / "0.png")
    images = load_images(open_source(str(tmp_path)), range(2), RGB)
    assert "30000x1 pixels is too elongated" in images.skipped[0]


def test_loading_is_deterministic() -> None:
    first, second = (load_images(DigitsSource(), np.arange(20), GREY) for _ in range(2))
    assert torch.equal(first.pixels, second.pixels)
