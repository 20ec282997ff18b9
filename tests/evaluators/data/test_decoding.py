"""Decoding: damaged and hostile files, and every pixel mode that files come in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.source import (
    CorruptImageError,
    declared_bits,
    decode_image,
    is_of_whole_numbers,
    with_channels,
)


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


def test_floating_point_pixels_are_refused_with_their_range() -> None:
    image = Image.fromarray(np.array([[0.25, 300.0]], dtype=np.float32))
    with pytest.raises(
        CorruptImageError, match=r"^float\.tif: floating-point pixels from 0\.25 to 300, of a"
    ):
        with_channels(image, 3, "float.tif")


FORMS = {
    "1.png": {}, "L.png": {}, "LA.png": {}, "P.png": {}, "RGB.png": {}, "RGBA.png": {},
    "L.jpg": {}, "RGB.jpg": {}, "CMYK.jpg": {}, "YCbCr.jpg": {}, "RGB.webp": {}, "RGBA.webp": {},
    "P.gif": {}, "L.gif": {}, "1.bmp": {}, "P.bmp": {}, "RGB.bmp": {}, "RGB.ppm": {}, "L.pgm": {},
    "1.tif": {}, "L.tif": {}, "LA.tif": {}, "P.tif": {}, "RGB.tif": {}, "RGBA.tif": {}, "CMYK.tif": {},
    "LAB.tif": {}, "L_transparent.png": {"transparency": 7}, "P_transparent.png": {"transparency": 3},
    "RGB_transparent.png": {"transparency": (1, 2, 3)}, "P_alphas.png": {"transparency": bytes(range(256))},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("turned", [1, 3, 6])
@pytest.mark.parametrize("name", FORMS)
def test_files_are_to_the_model_as_to_one_of_timm(tmp_path: Path, name: str, turned: int) -> None:
    from PIL import ExifTags

    mode = name.split(".")[0].split("_")[0]
    image = Image.new("LAB", (40, 30), (90, 140, 120)) if mode == "LAB" else photo().convert(mode)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turned
    more = {"exif": exif} if turned != 1 and name.endswith((".jpg", ".png", ".webp", ".tif")) else {}
    image.save(tmp_path / name, **FORMS[name], **more)
    for channels, target in ((1, "L"), (3, "RGB")):
        with Image.open(tmp_path / name) as opened:
            if (mode, target) == ("LAB", "L"):
                with pytest.raises(CorruptImageError, match="conversion from LAB to RGB not supported"):
                    with_channels(decode_image(tmp_path / name, name), channels, name)
                continue
            expected = np.asarray(opened.convert(target))  # as ImageDataset of timm does
        found = with_channels(decode_image(tmp_path / name, name), channels, name)
        assert np.array_equal(np.asarray(found), expected)


class TestWholeNumbers:
    """Images of more than 8 bits a pixel, which PIL and timm clip at 255."""

    @pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
    @pytest.mark.parametrize(("bits", "values"), [(8, [0, 255]), (12, [16, 4095]), (16, [256, 65535])])
    def test_they_keep_their_upper_bits(self, mode: str, bits: int, values: list[int]) -> None:
        kind = {"I": "<i4", "I;16B": ">u2"}.get(mode, "<u2")
        image = Image.frombytes(mode, (2, 1), np.array(values, dtype=kind).tobytes())
        found = np.asarray(with_channels(image, 1, "wide", bits))
        assert found.tolist() == [[values[0] >> (bits - 8), 255]]
        if bits == 8:
            assert np.array_equal(found, np.asarray(image.convert("L")))

    @pytest.mark.parametrize(
        ("values", "bits", "match"),
        [
            (
                [0, 70_000],
                16,
                "whole numbers from 0 to 70000 in pixels of mode I; expected 0 to 65535: save it",
            ),
            ([-5, 300], 16, "whole numbers from -5 to 300 in pixels of mode I; expected 0 to 65535"),
            ([0, 5000], 12, "whole numbers from 0 to 5000 in pixels of mode I; expected 0 to 4095"),
            ([0, 5000], None, "expected a range that other images have, too"),
        ],
    )
    def test_another_range_is_refused(self, values: list[int], bits: int | None, match: str) -> None:
        image = Image.fromarray(np.array([values], dtype=np.int32))
        with pytest.raises(CorruptImageError, match=match):
            with_channels(image, 3, "wide", bits)

    def test_large_values_are_of_16_bits_without_other_images(self) -> None:
        image = Image.fromarray(np.array([[256, 65535]], dtype=np.uint16))
        assert np.asarray(with_channels(image, 1, "wide", None)).tolist() == [[1, 255]]

    def test_a_pgm_says_its_range(self, tmp_path: Path) -> None:
        (tmp_path / "a.pgm").write_bytes(b"P5 2 1 4095\n" + np.array([16, 4095], dtype=">u2").tobytes())
        image = decode_image(tmp_path / "a.pgm", "a.pgm")
        assert declared_bits(image) == 16
        assert np.asarray(with_channels(image, 1, "a.pgm", 8)).tolist() == [[1, 255]]

    @pytest.mark.parametrize(("largest", "bits"), [(4095, 12), (1000, 10), (255, 8)])
    def test_a_tiff_may_say_its_largest_value(self, tmp_path: Path, largest: int, bits: int) -> None:
        image = Image.fromarray(np.array([[0, largest]], dtype=np.uint16))
        image.save(tmp_path / "a.tif", tiffinfo={281: largest})
        decoded = decode_image(tmp_path / "a.tif", "a.tif")
        assert declared_bits(decoded) == bits
        assert np.asarray(with_channels(decoded, 1, "a.tif")).tolist() == [[0, largest >> (bits - 8)]]


def test_other_channel_counts_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels"):
        with_channels(photo(), 4, "photo")


SAVED = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "GIF": ["1", "L", "P"],
    "BMP": ["1", "L", "P", "RGB"],
    "PPM": ["1", "L", "RGB", "I;16"],
}


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A small image file of any kind, now and then damaged."""
    form = draw(st.sampled_from(sorted(SAVED)))
    mode = draw(st.sampled_from(SAVED[form]))
    size = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    image: Image.Image
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(
            rng.integers(0, draw(st.sampled_from([2, 256, 4096, 65536])), size).astype(kind)
        )
    elif mode == "LAB":
        image = Image.frombytes(mode, size, rng.bytes(3 * size[0] * size[1]))
    else:
        image = Image.frombytes("RGBA", size, rng.bytes(4 * size[0] * size[1]))
        image = image.convert("RGB" if mode in ("1", "P", "CMYK") else mode).convert(mode)
    options: dict[str, object] = {}
    if form in ("PNG", "GIF") and mode in ("L", "P") and draw(st.booleans()):
        options["transparency"] = draw(st.integers(0, 255))
    if form in ("JPEG", "PNG", "WEBP", "TIFF") and draw(st.booleans()):
        exif = Image.Exif()
        exif[0x0112] = draw(st.integers(0, 9))  # orientation
        options["exif"] = exif
    written = io.BytesIO()
    image.save(written, form, **options)
    content = bytearray(written.getvalue())
    for place in draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.sampled_from([None, len(content) // 2]))])


@settings(max_examples=400, derandomize=True, deadline=None)
@given(files(), st.sampled_from([1, 3]))
@pytest.mark.filterwarnings("ignore")
def test_every_file_is_to_the_model_as_to_one_of_timm_or_refused(content: bytes, channels: int) -> None:
    found: NDArray[np.uint8] | str
    try:
        decoded = decode_image(io.BytesIO(content), "file")
        found = np.asarray(with_channels(decoded, channels, "file"))
    except CorruptImageError as error:
        found = str(error)
    if isinstance(found, str):
        assert "\n" not in found
        return
    with Image.open(io.BytesIO(content)) as opened:  # as ImageDataset of timm does
        if is_of_whole_numbers(opened):
            return
        expected = np.asarray(opened.convert({1: "L", 3: "RGB"}[channels]))
    assert np.array_equal(found, expected)
