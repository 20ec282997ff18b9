"""Whole numbers of 16 and 32 bits that hold fewer: read as the data set has them, and never black."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.data.sample_depth import depth_of
from bitfront.evaluators.models.loading import load_model
from bitfront.spaces import UserError

Write = Callable[[Image.Image, int], Image.Image]
COUNT = 60


def digits(folder: Path, write: Write, suffix: str) -> PreprocessedImages:
    """Digits that are written in some form, as the model sees them."""
    source, rows = DigitsSource(), ["path,label"]
    folder.mkdir(exist_ok=True)
    for index in range(COUNT):
        write(source.load(index), index).save(folder / f"{index}{suffix}")
        rows.append(f"{index}{suffix},{source.labels[index]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    found = open_source(str(folder / "labels.csv"))
    return load_images(found, range(COUNT), load_model("digits_deit").data_config)


@torch.inference_mode()
def top1(images: PreprocessedImages) -> float:
    logits = load_model("digits_deit").module(images.normalised(images.pixels))
    return 100.0 * float((logits.argmax(1) == images.labels).double().mean())


def as_numbers(kind: type, bits: int) -> Write:
    def write(image: Image.Image, _: int) -> Image.Image:
        return Image.fromarray((np.asarray(image).astype(np.int64) << (bits - 8)).astype(kind))

    return write


@pytest.mark.parametrize(
    ("kind", "bits", "suffix", "words"),
    [
        (np.int32, 8, ".tif", "at most 255 in 60 images: taken as they are, as timm does"),
        (np.uint16, 8, ".png", "at most 255 in 60 images: taken as they are, as timm does"),
        (np.uint16, 10, ".png", "at most 1020 in 60 images: read as 10 bits, where timm would clip"),
        (np.uint16, 12, ".tif", "at most 4080 in 60 images: read as 12 bits, where timm would clip"),
        (np.int32, 14, ".tif", "at most 16320 in 60 images: read as 14 bits, where timm would clip"),
        (np.uint16, 16, ".png", "at most 65280 in 60 images: read as 16 bits, where timm would clip"),
    ],
)
def test_numbers_of_every_range_are_the_same_images(
    tmp_path: Path, kind: type, bits: int, suffix: str, words: str
) -> None:
    plain = digits(tmp_path / "plain", lambda image, _: image, ".png")
    found = digits(tmp_path / "wide", as_numbers(kind, bits), suffix)
    assert top1(plain) > 97.0
    assert not plain.remarks
    assert torch.equal(found.pixels, plain.pixels)
    (remark,) = found.remarks
    assert f"60 of 60 images hold whole numbers of more than 8 bits a pixel, {words}" in remark


def test_values_to_255_are_to_the_model_as_to_one_of_timm(tmp_path: Path) -> None:
    import timm.data

    found = digits(tmp_path, as_numbers(np.int32, 8), ".tif")
    transform = timm.data.create_transform(
        **load_model("digits_deit").data_config, is_training=False, use_prefetcher=True
    )
    for index in range(COUNT):
        with Image.open(tmp_path / f"{index}.tif") as image:
            assert np.array_equal(found.pixels[index].numpy(), transform(image.convert("L")))


def test_a_dark_image_stays_dark_among_others(tmp_path: Path) -> None:
    def write(image: Image.Image, index: int) -> Image.Image:
        values = np.asarray(image).astype(np.uint16) << 8
        return Image.fromarray(values if index else values // 1000)

    found = digits(tmp_path, write, ".png")
    assert found.pixels[0].max() == 0
    assert found.pixels[1:].amax((1, 2, 3)).min() > 200


def test_every_split_is_read_alike(tmp_path: Path) -> None:
    """Some images alone would look like those of fewer bits."""

    def write(image: Image.Image, index: int) -> Image.Image:
        return Image.fromarray(np.asarray(image).astype(np.uint16) << (4 if index % 2 else 0))

    digits(tmp_path, write, ".png")
    source, config = open_source(str(tmp_path / "labels.csv")), load_model("digits_deit").data_config
    assert depth_of(source).bits == 12
    dark, whole = load_images(source, range(0, COUNT, 2), config), load_images(source, range(COUNT), config)
    assert torch.equal(dark.pixels, whole.pixels[::2])


def test_numbers_beyond_16_bits_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"60 of 60 images .* \(first: .*0\.tif: whole numbers from 0 to \d+ in"
    ):
        digits(tmp_path / "all", as_numbers(np.int32, 20), ".tif")
    wide, narrow = as_numbers(np.int32, 20), as_numbers(np.int32, 8)
    found = digits(tmp_path / "one", lambda image, i: (wide if i == 7 else narrow)(image, i), ".tif")
    assert top1(found) > 97.0
    (skipped,) = found.skipped
    assert "7.tif: whole numbers from 0 to" in skipped
    assert "expected 0 to 255: save it with 8 bits" in skipped


def test_several_ranges_are_refused_where_most_images_would_be_black(tmp_path: Path) -> None:
    wide, narrow = as_numbers(np.uint16, 16), as_numbers(np.uint16, 8)
    with pytest.raises(UserError, match=r"several ranges: at most 255 in .*\.png and 65280 in .*") as caught:
        digits(tmp_path, lambda image, i: (wide if i == 7 else narrow)(image, i), ".png")
    assert "\n" not in str(caught.value)


def test_images_that_are_all_black_are_black(tmp_path: Path) -> None:
    found = digits(tmp_path, lambda image, _: Image.new("I;16", image.size), ".png")
    assert found.pixels.max() == 0
