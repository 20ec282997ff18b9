"""Folders and tables of images as people and tools lay them out, made from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from layout import Data, Layout
from PIL import Image

from bitfront.evaluators.data.digits import DigitsSource


def write_images(folder: Path, files: Iterable[str]) -> None:
    """Writes a digit under every name."""
    source = DigitsSource()
    for index, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image: Image.Image = source.load(index)
        image.save(path)


def folders(labels: dict[str, int], data: str = "", **given: Any) -> Callable[[Path], Data]:
    """Images of the given paths with their labels."""

    def make(folder: Path) -> Data:
        write_images(folder, labels)
        return Data({"data": str(folder / data) if data else str(folder), **given}, labels)

    return make


def digit_folders(folder: Path, names: Sequence[str], count: int = 60) -> dict[str, int]:
    """Digits in a folder for each, which the model has in the order of the names; their labels."""
    source, labels = DigitsSource(), {}
    for index in range(count):
        path = folder / names[int(source.labels[index])] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        source.load(index).save(path)
        labels[path.relative_to(folder).as_posix()] = int(source.labels[index])
    return labels


def trained_on(*names: str, **given: Any) -> Callable[[Path], Data]:
    """Folders of digits that a model was trained on in the order of the names."""

    def make(folder: Path) -> Data:
        return Data({"data": str(folder), **given}, digit_folders(folder, names))

    return make


def mapped(name: str, text: str, **labels: int) -> Callable[[Path], Data]:
    """A folder for each class beside a class map."""

    def make(folder: Path) -> Data:
        files = {f"{own}/1.png": label for own, label in labels.items()}
        write_images(folder / "images", files)
        (folder / name).write_text(text, encoding="utf-8")
        return Data({"data": str(folder / "images"), "class_map": str(folder / name)}, files)

    return make


def with_more(labels: dict[str, int], add: Callable[[Path], object], **given: Any) -> Callable[[Path], Data]:
    """Images beside which there is something else."""

    def make(folder: Path) -> Data:
        made = folders(labels, **given)(folder)
        add(folder)
        return made

    return make


def numbers(kind: type, bits: int, suffix: str) -> Callable[[Path], Data]:
    """Digits of so many bits in files of 16 or 32."""

    def make(folder: Path) -> Data:
        labels = {f"{name}/{n}{suffix}": name == "b" for name in "ab" for n in range(4)}
        for index, name in enumerate(labels):
            values = np.asarray(DigitsSource().load(index)).astype(np.int64) << (bits - 8)
            (folder / name).parent.mkdir(exist_ok=True)
            Image.fromarray(values.astype(kind)).save(folder / name)
        return Data({"data": str(folder)}, {name: int(label) for name, label in labels.items()})

    return make


NUMBERED = tuple(str(number) for number in range(1, 11))
NESTED = tuple(f"{'odd' if number % 2 else 'even'}/{number}" for number in range(10))
MIXED = ("ant", "Bee", "cat", "Dog", "elk", "Fox", "gnu", "Hen", "ibis", "Jay")
PETS = {"cat/1.png": 0, "dog/1.png": 1}

DATA = (
    Layout(
        "torchvision `ImageFolder`, timm",
        "`<class>/<image>`",
        folders({"cat/1.png": 0, "cat/2.png": 0, "dog/1.png": 1}),
    ),
    Layout(
        "timm",
        "folders `1` to `10`, which timm has in the order of the numbers",
        trained_on(*NUMBERED),
        said="class order: natural",
    ),
    Layout(
        "torchvision `ImageFolder`",
        "folders `1` to `10`, which torchvision sorts: 1, 10, 2",
        trained_on(*sorted(NUMBERED)),
        said="class order: plain",
    ),
    Layout("timm", "folders `ant`, `Bee`, `cat`: case does not count", trained_on(*MIXED), said="natural"),
    Layout(
        "torchvision `ImageFolder`",
        "folders `Bee`, `ant`, `cat`: capitals first",
        trained_on(*sorted(MIXED)),
        said="class order: plain",
    ),
    Layout("timm", "`<group>/<class>/<image>`", trained_on(*NESTED), said="class order: natural"),
    Layout(
        "torchvision `ImageFolder`",
        "`<class>/<group>/<image>`, `--class-order plain`",
        folders({"x/cat/1.png": 0, "x/dog/1.png": 0, "y/ape/1.png": 1}, class_order="plain"),
    ),
    Layout(
        "timm",
        "an empty class folder, `--class-order natural`",
        with_more({"b/1.png": 0, "c/1.png": 1}, lambda folder: (folder / "a").mkdir(), class_order="natural"),
    ),
    Layout(
        "a person",
        "folders `1` to `10`, and a model that fits neither order",
        folders({f"{number}/1.png": 0 for number in range(1, 11)}),
        refused="have other labels in plain order (torchvision's) than in natural order (timm's)",
    ),
    Layout(
        "timm", "`--class-map` of one name a line", mapped("map.txt", "ape\nbee\ncat\ndog\n", dog=3, bee=1)
    ),
    Layout(
        "Hugging Face",
        "`--class-map config.json` with `id2label`",
        mapped("config.json", '{"id2label": {"0": "cat", "7": "dog"}}', cat=0, dog=7),
    ),
    Layout(
        "a person",
        "`--class-map` of `name,index`",
        mapped("map.csv", "name,index\ncat,5\ndog,2\n", cat=5, dog=2),
    ),
    Layout(
        "timm",
        "`--class-map` as a pickle",
        mapped("map.pkl", "", cat=0),
        refused="is a pickle, which can run any code",
    ),
    Layout(
        "a person",
        "a class folder that the class map lacks",
        mapped("map.txt", "cat\n", cat=0, dog=1),
        refused="lacks 'dog'",
    ),
    Layout(
        "a person",
        "`.gif` and `.jfif` files among others",
        with_more(PETS, lambda folder: [(folder / "cat" / name).touch() for name in ("1.gif", "1.jfif")]),
        said="2 files with other endings were ignored (.gif 1, .jfif 1)",
    ),
    Layout(
        "systems",
        "hidden folders, `Thumbs.db`, `desktop.ini`",
        with_more(
            PETS,
            lambda folder: [
                (folder / ".cache").mkdir(),
                *((folder / "cat" / name).touch() for name in ("Thumbs.db", "desktop.ini", ".DS_Store")),
            ],
        ),
    ),
    Layout(
        "a person",
        "a link to a folder above it",
        with_more(PETS, lambda folder: (folder / "cat" / "all").symlink_to("..")),
        said="links to a folder above them were not followed (cat/all)",
    ),
    Layout(
        "a person",
        "two links to one folder",
        with_more(PETS, lambda folder: (folder / "puss").symlink_to("cat")),
        refused="are the same folder",
    ),
    Layout(
        "cameras, scanners", "12 bits in TIFF files of 16", numbers(np.uint16, 12, ".tif"), said="12 bits"
    ),
    Layout(
        "scientific tools",
        "0 to 255 in TIFF files of 32 bits",
        numbers(np.int32, 8, ".tif"),
        said="as timm does",
    ),
    Layout(
        "scientific tools",
        "the full range in PNG files of 16 bits",
        numbers(np.uint16, 16, ".png"),
        said="16 bits",
    ),
    Layout(
        "scientific tools",
        "floating-point numbers in TIFF files",
        numbers(np.float32, 8, ".tif"),
        refused="floating-point pixels from 0 to",
    ),
)
