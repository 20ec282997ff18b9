"""labels.csv: a table with the columns ``path,label`` beside the images it names."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from bitfront.evaluators.data.image_folder import ImageFiles
from bitfront.spaces import UserError

COLUMNS = ("path", "label")
LARGEST_LABEL = 2**31 - 1


def read_labels_csv(table: Path, name: str) -> ImageFiles:
    """Reads the table; files are opened only when they are loaded.

    Further columns are ignored. Paths are relative to the table's folder and stay inside it.

    Raises:
        UserError: The file is not such a table; the message names the line.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(file, table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"cannot read {table}: {error}; expected a UTF-8 text file with the columns path,label"
        ) from error
    if not rows:
        raise UserError(f"{table} lists no images; expected one line 'path,label' for each image")
    files, labels = zip(*rows, strict=True)
    return ImageFiles(name, table.parent, files, np.array(labels, dtype=np.int64))


def _rows(file: Iterator[str], table: Path) -> Iterator[tuple[str, int]]:
    reader = csv.DictReader(file, strict=True)
    header = reader.fieldnames or []
    if not set(COLUMNS) <= set(header):
        raise UserError(f"{table} has the columns {','.join(header) or '(none)'}; expected path,label")
    seen: dict[str, int] = {}
    for row in reader:
        where = f"{table} line {reader.line_num}"
        path, label = _read_path(row["path"], where), _read_label(row["label"], where)
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


def _read_label(value: str | None, where: str) -> int:
    text = (value or "").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > LARGEST_LABEL:
        raise UserError(f"{where}: label {value!r} is not a class index; expected a whole number from 0")
    return int(text)
