"""Directories with a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.evaluators.data.source import HELD_OUT, IMAGE_SUFFIXES, TRAIN
from bitfront.spaces import UserError

TRAIN_FOLDER = "train"
HELD_OUT_FOLDERS = ("val", "validation", "valid", "test")  # the first that is there


def read_image_folder(folder: Path, name: str) -> ImageFiles:
    """Lists a directory of class folders; class indices follow the sorted folder names, as in torchvision.

    ``train`` beside ``val`` or ``test`` gives a partition; both then have the classes of ``train``.

    Raises:
        UserError: There are fewer than two class folders or no images, or ``train`` lacks a held-out class.
    """
    parts = _parts(folder)
    classes = _sub_folders(parts[0][0])
    _check_classes(folder, parts, classes)
    found = [
        (path.relative_to(folder).as_posix(), classes.index(path.relative_to(part).parts[0]), side)
        for part, side in parts
        for path in _images(part)
    ]
    if not found:
        raise UserError(
            f"no images in {folder}; expected {folder}/<class>/<image> "
            f"with one of the endings {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    files, labels, sides = zip(*found, strict=True)
    partition = np.array(sides) if len(parts) > 1 else None
    return ImageFiles(name, folder, files, np.array(labels, dtype=np.int64), partition, tuple(classes))


def _parts(folder: Path) -> list[tuple[Path, str]]:
    """The folders that hold class folders, each with its side of the partition."""
    for held_out in HELD_OUT_FOLDERS:
        if (folder / TRAIN_FOLDER).is_dir() and (folder / held_out).is_dir():
            return [(folder / TRAIN_FOLDER, TRAIN), (folder / held_out, HELD_OUT)]
    return [(folder, HELD_OUT)]


def _sub_folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _check_classes(folder: Path, parts: Sequence[tuple[Path, str]], classes: Sequence[str]) -> None:
    if not classes:
        raise UserError(
            f"no class folders in {parts[0][0]}; expected {folder}/<class>/<image>, "
            "or a labels.csv file with the columns path,label"
        )
    if len(classes) == 1:
        raise UserError(
            f"{parts[0][0]} has only the folder {classes[0]}; expected at least two class folders: "
            f"pass --data {parts[0][0] / classes[0]} if they are inside it, or a labels.csv file"
        )
    for part, _ in parts[1:]:
        unknown = sorted(set(_sub_folders(part)) - set(classes))
        if unknown:
            raise UserError(
                f"{part} has the class folder {unknown[0]}, which {parts[0][0]} lacks; "
                "expected the same classes in both"
            )


def _images(part: Path) -> Iterator[Path]:
    for name in _sub_folders(part):
        for folder, folders, files in os.walk(part / name, followlinks=True):
            folders.sort()
            for file in sorted(files):
                if Path(file).suffix.lower() in IMAGE_SUFFIXES and not file.startswith("."):
                    yield Path(folder) / file
