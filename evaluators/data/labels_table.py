"""``labels.csv`` tables: the paths of images and their labels."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.spaces import UserError

# Where images have any number of labels, a column of 0 and 1 for each stands for the last.
COLUMNS = ("path", "label")
TABLE_FORMS = "path,label, or path and a column of 0 and 1 for each of several labels"
LARGEST_LABEL = 2**31 - 1


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
