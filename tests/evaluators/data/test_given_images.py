"""Data sets given as Python objects: read back pixel by pixel, or refused with the item's number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, Subset, TensorDataset

from bitfront.evaluators.data.given_images import write_images
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.data.source import ImageSource, with_channels
from bitfront.spaces import UserError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (5, 7, 6, 3), dtype=np.uint8)  # images, height, width, channels
GREYS = COLOURS[..., 0]


class Pairs:
    """A map-style data set of what it is given."""

    def __init__(self, items: list[Any], classes: Any = None) -> None:
        self._items = items
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


def written(tmp_path: Path, dataset: Any, classes: int | None = 10) -> ImageSource:
    return open_source(str(write_images(tmp_path / "images", dataset, classes)))


def pixels_of(source: ImageSource) -> list[np.ndarray]:
    return [np.asarray(source.load(index)) for index in range(len(source))]


def as_floats(images: np.ndarray) -> torch.Tensor:
    """As torchvision's ToTensor makes them: channels first, divided by 255."""
    return torch.from_numpy(np.moveaxis(images, -1, 1).copy()).float().div(255)


@pytest.mark.parametrize(
    "images",
    [
        list(COLOURS),
        [Image.fromarray(image) for image in COLOURS],
        list(np.moveaxis(COLOURS, -1, 1)),
        list(torch.from_numpy(np.moveaxis(COLOURS, -1, 1).copy())),
        list(torch.from_numpy(COLOURS)),
        list(as_floats(COLOURS)),
        list(as_floats(COLOURS).double()),
        list(as_floats(COLOURS).numpy()),
        list(torch.from_numpy(np.moveaxis(COLOURS, -1, 1).copy()).float() * (1 / 255)),
    ],
)
def test_colours_of_every_form(tmp_path: Path, images: list[Any]) -> None:
    source = written(tmp_path, Pairs([(image, index) for index, image in enumerate(images)]))
    assert source.labels.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(pixels_of(source), COLOURS)


@pytest.mark.parametrize(
    "images",
    [
        list(GREYS),
        list(GREYS[..., None]),
        list(GREYS[:, None]),
        list(torch.from_numpy(GREYS.copy())),
        [Image.fromarray(image) for image in GREYS],
        list(as_floats(GREYS[..., None])),
    ],
)
def test_greys_of_every_form(tmp_path: Path, images: list[Any]) -> None:
    source = written(tmp_path, Pairs([(image, torch.tensor(1)) for image in images]))
    assert np.array_equal(pixels_of(source), GREYS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I"])
def test_every_mode_is_to_the_model_as_it_was(tmp_path: Path, mode: str) -> None:
    if mode.startswith("I"):
        image = Image.fromarray(RNG.integers(0, 65536, (7, 6)).astype(np.int32 if mode == "I" else np.uint16))
    else:
        image = Image.fromarray(COLOURS[0]).convert(mode)
    assert image.mode == mode
    source = written(tmp_path, Pairs([(image, 0)]))
    for channels in (1, 3):
        if mode in ("CMYK", "YCbCr", "HSV") and channels == 1:
            continue  # by way of RGB, which rounds
        expected, found = (with_channels(im, channels, "it") for im in (image, source.load(0)))
        assert np.array_equal(np.asarray(expected), np.asarray(found))


def test_data_sets_of_torch(tmp_path: Path) -> None:
    images, labels = as_floats(COLOURS), torch.arange(5)
    source = written(tmp_path, Subset(TensorDataset(images, labels), [4, 0, 2]))
    assert source.labels.tolist() == [4, 0, 2]
    assert np.array_equal(pixels_of(source), COLOURS[[4, 0, 2]])


def test_names_of_classes_stand_in_the_table(tmp_path: Path) -> None:
    items = [(image, 1) for image in COLOURS]
    table = write_images(tmp_path / "images", Subset(Pairs(items, ["cat", "dog, wolf"]), [0]), 2)
    assert table.read_text() == 'path,label,class\n0.png,1,"dog, wolf"\n'
    assert open_source(str(table)).labels.tolist() == [1]
    table = write_images(tmp_path / "images", Pairs(items * 3), 2)
    assert table.read_text().splitlines()[:2] == ["path,label", "00.png,1"]


def test_progress_is_told(tmp_path: Path) -> None:
    shares: list[float] = []
    write_images(tmp_path / "images", Pairs([(image, 0) for image in COLOURS]), 1, shares.append)
    assert shares == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_of_a_large_set_some_are_drawn_and_keep_their_numbers(tmp_path: Path) -> None:
    dataset = Pairs([(np.full((4, 4), index, np.uint8), index % 3) for index in range(200)])
    tables = [
        write_images(tmp_path / f"seed{seed}", dataset, 3, most=20, seed=seed).read_text()
        for seed in (0, 0, 1)
    ]
    assert tables[0] == tables[1] != tables[2]
    source = open_source(str(tmp_path / "seed1" / "labels.csv"))
    assert len(source) == 20
    for index in range(20):
        number = int(Path(source.describe(index)).stem)
        assert source.labels[index] == number % 3
        assert np.asarray(source.load(index)).max() == number
    assert len(written(tmp_path, dataset, 3)) == 200
    assert len(open_source(str(write_images(tmp_path / "all", dataset, 3, most=200)))) == 200


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield COLOURS[0], 0


GOOD = (COLOURS[0], 0)


@pytest.mark.parametrize(
    ("dataset", "match"),
    [
        (Stream(), r"the data set \(Stream\) has no length: give a map-style one"),
        (Pairs([]), "the data set is empty"),
        (Pairs([GOOD, COLOURS[0]]), r"item 1 of the data set is a ndarray; expected a pair \(image, label\)"),
        (Pairs([GOOD, {"image": COLOURS[0]}]), "item 1 of the data set is a dict"),
        (Pairs([GOOD, (*GOOD, 3)]), "item 1 of the data set is a tuple"),
        (Pairs([GOOD, (COLOURS[0], 10)]), "item 1 .* has the label 10; expected 0 to 9, for the model's 10"),
        (Pairs([GOOD, (COLOURS[0], -1)]), "item 1 of the data set has the label -1; expected 0 to 9"),
        (Pairs([(COLOURS[0], 1.0)]), "item 0 of the data set has the label 1.0; expected the index"),
        (Pairs([(COLOURS[0], True)]), "has the label True"),
        (Pairs([(COLOURS[0], torch.ones(10))]), "has the label tensor"),
        (Pairs([("cat.png", 0)]), "item 0 of the data set has a str for an image; expected a PIL image"),
        (Pairs([(GREYS[0].astype(np.int64), 0)]), "has an image of int64 values; expected uint8"),
        (Pairs([(np.zeros((7, 6, 4), np.uint8), 0)]), r"has an image of shape \[7, 6, 4\]; expected height"),
        (Pairs([(np.zeros((2, 3, 7, 6), np.uint8), 0)]), "has an image of shape"),
        (Pairs([(np.zeros((0, 6, 3), np.uint8), 0)]), "expected pixels"),
        (Pairs([(as_floats(COLOURS)[0] * 2 - 1, 0)]), "not 0 to 1: give images before normalisation"),
        (Pairs([(as_floats(COLOURS)[0] * 0.9, 0)]), "between the 256 levels .*: give images before norm"),
        (Pairs([(torch.full((3, 4, 4), float("nan")), 0)]), "not 0 to 1"),
        (Pairs([(Image.fromarray(GREYS[0].astype(np.float32)), 0)]), "has an image of mode F"),
    ],
)
def test_what_is_no_data_set_of_images(tmp_path: Path, dataset: Any, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        write_images(tmp_path / "images", dataset, 10)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_data_set_name_the_item(tmp_path: Path) -> None:
    class Half(Pairs):
        def __getitem__(self, index: int) -> Any:
            if index == 1:
                raise OSError("disk\ngone")
            return GOOD

    with pytest.raises(UserError, match=r"item 1 of the data set cannot be read \(OSError: disk gone\)"):
        write_images(tmp_path / "images", Half([GOOD, GOOD]), 10)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_keeps_what_was_there(tmp_path: Path) -> None:
    table = write_images(tmp_path / "images", Pairs([GOOD]), 10)

    def interrupted(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_images(tmp_path / "images", Pairs([GOOD] * 3), 10, interrupted)
    assert len(open_source(str(table))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_images_with_any_number_of_labels(tmp_path: Path) -> None:
    vectors = [torch.tensor([0, 1, 1]), np.array([1, 0, 0]), [0, 0, 0]]
    pairs = Pairs(list(zip(COLOURS[:3], vectors, strict=True)), classes=("a", "b", "c"))
    source = open_source(str(write_images(tmp_path / "images", pairs, 3, multiple=True)))
    assert source.labels.tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert source.class_names == ("a", "b", "c")
    unnamed = Pairs(list(zip(COLOURS[:3], vectors, strict=True)))
    assert open_source(str(write_images(tmp_path / "others", unnamed, None, multiple=True))).class_names == (
        "label0", "label1", "label2",
    )  # fmt: skip


@pytest.mark.parametrize("labels", [1, [0, 2, 1], [0, 1], torch.ones(1, 3), "cat"])
def test_labels_that_are_no_vector_of_0_and_1(tmp_path: Path, labels: Any) -> None:
    with pytest.raises(
        UserError, match="expected a vector of 0 and 1 of 3 values, one for each of the model's"
    ):
        write_images(tmp_path / "images", Pairs([(COLOURS[0], labels)]), 3, multiple=True)
