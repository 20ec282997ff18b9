"""Decoding: damaged and hostile files, and every pixel mode that files come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitfront.evaluators.data.source import CorruptImageError, decode_image, with_channels


def photo(width: int = 40, height: int = 30) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_whole_file_is_decoded_and_closed(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    image = decode_image(tmp_path / "a.png", "a.png")
    (tmp_path / "a.png").unlink()
    assert np.array_equal(np.asarray(image), np.asarray(photo()))


def test_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    photo().save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptImageError, match=r"^cut\.jpg: .*truncated"):
        decode_image(tmp_path / "cut.jpg", "cut.jpg")


def test_a_text_file_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(CorruptImageError, match=r"^text\.jpg: not an image file$"):
        decode_image(tmp_path / "text.jpg", "text.jpg")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptImageError, match=r"^gone\.jpg: no such file$"):
        decode_image(tmp_path / "gone.jpg", "gone.jpg")


@pytest.mark.parametrize("limit", [600, 1000], ids=["error", "warning"])
def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    photo(40, 30).save(tmp_path / "bomb.png")
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", limit - 1
    )  # PIL raises from twice the limit, and warns below
    with pytest.raises(CorruptImageError, match=f"more than {limit - 1} pixels"):
        decode_image(tmp_path / "bomb.png", "bomb.png")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
def test_every_mode_keeps_a_flat_grey(mode: str, channels: int) -> None:
    value = 255 if mode == "1" else 153  # a grey of PIL's default palette
    grey = Image.new("L", (4, 3), value)
    if mode in {"I;16", "I"}:
        wide = np.full((3, 4), value << 8, dtype=np.uint16 if mode == "I;16" else np.int32)
        image = Image.fromarray(wide)
    else:
        image = grey.convert("RGB").convert(mode)
    assert image.mode == mode
    converted = with_channels(image, channels, "grey")
    assert converted.mode == {1: "L", 3: "RGB"}[channels]
    assert np.abs(np.asarray(converted).astype(int) - value).max() <= 2


def test_palette_transparency_does_not_change_the_colours() -> None:
    image = photo().convert("P")
    expected = np.asarray(image.convert("RGB"))
    image.info["transparency"] = bytes(range(256))
    assert np.array_equal(np.asarray(with_channels(image, 3, "palette")), expected)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(CorruptImageError, match="floating-point pixels"):
        with_channels(Image.new("F", (2, 2)), 3, "float.tif")


def test_other_channel_counts_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels"):
        with_channels(photo(), 4, "photo")
