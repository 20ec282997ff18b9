"""Image files with labels: directories with a folder for each class, and ``labels.csv`` tables."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.source import HELD_OUT, IMAGE_SUFFIXES, TRAIN, decode_image
from bitfront.spaces import UserError

TRAIN_FOLDER = "train"
HELD_OUT_FOLDERS = ("val", "validation", "valid", "test")  # the first that is there
# Of labels.csv; where images have any number of labels, a column of 0 and 1 for each stands for the last.
COLUMNS = ("path", "label")
TABLE_FORMS = "path,label, or path and a column of 0 and 1 for each of several labels"
LARGEST_LABEL = 2**31 - 1


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Labelled files; satisfies :class:`~bitfront.evaluators.data.source.ImageSource`.

    Attributes:
        name: What the user called it.
        root: The folder that the files are relative to.
        files: Paths relative to ``root``, with forward slashes.
        labels: Class indices, shape ``[images]``.
        partition: ``train`` or ``held-out`` for every image, or None.
        class_names: Name of every class index, or None.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    partition: NDArray[np.str_] | None = None
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def load(self, index: int) -> Image.Image:
        """The decoded file at ``index``; raises CorruptImageError where it cannot be read."""
        return decode_image(self.root / self.files[index], self.describe(index))

    def describe(self, index: int) -> str:
        """The file's path, starting at the source's folder."""
        return str(self.root / self.files[index])


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


def read_labels_csv(table: Path, name: str) -> ImageFiles:
    """Reads the table; files are opened only when they are loaded.

    Beside ``label``, further columns are ignored. Paths are relative to the table's folder and stay inside.

    Raises:
        UserError: The file is not such a table; the message names the line.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = _label_names(reader.fieldnames or [], table)
            rows = list(_rows(reader, table, _read_labels if names else _read_label))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"cannot read {table}: {error}; expected a UTF-8 text file with the columns {TABLE_FORMS}"
        ) from error
    if not rows:
        raise UserError(f"{table} lists no images; expected one line 'path,label' for each image")
    files, labels = zip(*rows, strict=True)
    return ImageFiles(name, table.parent, files, np.array(labels, dtype=np.int64), class_names=names or None)


def _label_names(header: Sequence[str], table: Path) -> tuple[str, ...]:
    """Names of the labels where there is a column for each of several; none where there is one label."""
    path, label = COLUMNS
    names = tuple(name for name in header if name != path)
    if path not in header or (label not in header and len(names) < 2) or len(set(header)) < len(header):
        raise UserError(f"{table} has the columns {','.join(header) or '(none)'}; expected {TABLE_FORMS}")
    return () if label in header else names


def _rows(
    reader: csv.DictReader[str], table: Path, read: Callable[[Mapping[str, str | None], str], object]
) -> Iterator[tuple[str, object]]:
    seen: dict[str, int] = {}
    for row in reader:
        where = f"{table} line {reader.line_num}"
        path, label = _read_path(row["path"], where), read(row, where)
        if path in seen:
            raise UserError(
                f"{where} lists {path} again (first in line {seen[path]}); expected every image once, "
                "because splits must not share images"
            )
        seen[path] = reader.line_num
        yield path, label


def _read_path(value: str | None, where: str) -> str:
    path = PurePosixPath((value or "").strip())
    windows = PureWindowsPath(path)
    if path.is_absolute() or windows.anchor or ".." in path.parts or ".." in windows.parts:
        raise UserError(
            f"{where}: path {value!r} leads out of the table's folder; "
            "expected a path relative to it: put the table above the images"
        )
    if path == PurePosixPath():
        raise UserError(f"{where}: the path is empty; expected a path relative to the table's folder")
    return str(path)


def _read_labels(row: Mapping[str, str | None], where: str) -> list[int]:
    if None in row:  # where csv puts what has no column
        raise UserError(f"{where} has more values than there are columns")
    values = {name: (value or "").strip() for name, value in row.items() if name != "path"}
    for name, value in values.items():
        if value not in ("0", "1"):
            raise UserError(f"{where}: {name} is {value!r}; expected 0 or 1, or a column called label")
    return [int(value) for value in values.values()]


def _read_label(row: Mapping[str, str | None], where: str) -> int:
    value = row["label"]
    text = (value or "").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > LARGEST_LABEL:
        raise UserError(f"{where}: label {value!r} is not a class index; expected a whole number from 0")
    return int(text)
