"""Folders and tables of images as people and tools lay them out, made from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

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


def folders(labels: dict[str, int], data: str = "") -> Callable[[Path], Data]:
    """Images of the given paths with their labels."""

    def make(folder: Path) -> Data:
        write_images(folder, labels)
        return Data({"data": str(folder / data) if data else str(folder)}, labels)

    return make


DATA = (
    Layout(
        "torchvision `ImageFolder`, timm",
        "`<class>/<image>`",
        folders({"cat/1.png": 0, "cat/2.png": 0, "dog/1.png": 1}),
    ),
)
