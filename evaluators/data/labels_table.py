"""Tables of labels: the paths of images and the number or the name of their class, in a text file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.data.class_map import ClassMap, numbered
from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.evaluators.data.table_columns import (
    LARGEST_LABEL,
    REMEDY,
    Columns,
    bare_columns,
    columns_of,
    header_columns,
)
from bitfront.evaluators.data.text_table import TextTable, read_text_table
from bitfront.evaluators.data.written_paths import WrittenPaths
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

SUFFIXES = (".csv", ".tsv", ".txt")
_LONGEST_SHOWN = 120  # characters of a value in a message
# Whole numbers, also as pandas writes them beside rows without one; and what is a number to a reader.
_INDEX, _NUMBER = (
    re.compile(r"([0-9]{1,10})(\.0*)?"),
    re.compile(r"[+-]?[.,]?\d[\d.,]*(e[+-]?\d+)?", re.IGNORECASE),
)


def read_labels_table(
    table: Path,
    name: str,
    columns: Sequence[str] = (),
    class_order: str | None = None,
    class_map: ClassMap | None = None,
) -> ImageFiles:
    """Reads a table of any usual separator and encoding; images are opened only when they are loaded.

    Labels are class indices throughout, or class names throughout, which are numbered as those of folders.
    Rows without a label and files that are not there are left out; ``remarks`` of the source say so.

    Args:
        table: The file. Paths in it are absolute, or relative to its folder.
        name: What the user called it.
        columns: Names of the columns of path and label, or of path and each of several labels; none to take
            them by their usual names.
        class_order: Of class names; see :func:`~bitfront.evaluators.data.class_map.numbered`.
        class_map: Which output each class name stands for.

    Raises:
        UserError: The file is not such a table, or most of its images are not there; the message names the
            line.
    """
    paths = WrittenPaths(table.parent)
    found = read_text_table(
        table,
        lambda header: header_columns(header, columns) is not None,
        lambda fields: not columns and bare_columns(fields, paths) is not None,
    )
    taken, remarks = columns_of(found, columns, paths)
    rows, unlabelled = _rows(found, taken)
    two_orders = False
    if taken.label is None:
        labels, names = _labels_of_several(table, rows, taken, class_map)
    elif _are_names(rows, class_map):
        classes = numbered([row.values[0] for row in rows], str(table), class_order, class_map)
        labels, names, two_orders = (
            np.array(classes.labels, dtype=np.int64),
            classes.names,
            classes.two_orders,
        )
    else:
        labels, names = _indices(table, rows), None if class_map is None else class_map.names
    files, left_out = _files(table, rows, paths)
    if unlabelled:
        left_out.insert(
            0, f"{table}: {count_of(len(unlabelled), 'row')} without a label left out (line {unlabelled[0]})"
        )
    return ImageFiles(
        name,
        table.parent,
        tuple(file for file in files if file is not None),
        labels[[file is not None for file in files]],
        class_names=names,
        remarks=(*found.remarks, *remarks, *left_out),
        two_orders=two_orders,
    )


class _Row(NamedTuple):
    """A line of the table: the path as it is written, and the value of each label."""

    line: int
    path: str
    values: tuple[str, ...]


def _rows(found: TextTable, columns: Columns) -> tuple[list[_Row], list[int]]:
    """The rows with a label, and the lines of those without."""
    width = 2 if found.header is None else len(found.header)
    places = tuple(columns.several.values()) if columns.label is None else (columns.label,)
    rows, unlabelled = [], []
    for line, fields in found.rows:
        if any(fields[width:]):
            raise UserError(
                f"{found.path} line {line} has more values than there are columns: put a value with a "
                "separator in it in double quotes"
            )
        fields = fields + [""] * (width - len(fields))
        row = _Row(line, fields[columns.path], tuple(fields[place] for place in places))
        if not row.path:
            raise UserError(f"{found.path} line {line}: the path is empty; expected the path of an image")
        if any(row.values):
            rows.append(row)
        else:
            unlabelled.append(line)
    if not rows:
        why = f" with a label ({len(unlabelled)} without)" if unlabelled else ""
        raise UserError(f"{found.path} lists no images{why}; expected one line 'path,label' for each image")
    return rows, unlabelled


def _are_names(rows: Sequence[_Row], class_map: ClassMap | None) -> bool:
    """Whether labels are names of classes: none is a number, or a class map has them all."""
    texts = [row.values[0] for row in rows]
    if class_map is not None and class_map.indices.keys() >= set(texts):
        return True
    return not any(map(_NUMBER.fullmatch, texts))


def _indices(table: Path, rows: Sequence[_Row]) -> NDArray[np.int64]:
    """Class indices ``[rows]``."""
    indices = []
    for row in rows:
        number = _INDEX.fullmatch(row.values[0])
        if number is None or int(number[1]) > LARGEST_LABEL:
            raise UserError(
                f"{table} line {row.line}: label {_shown(row.values[0])!r} is not a class index; expected a "
                "whole number from 0 in every row, or the name of a class in every row"
            )
        indices.append(int(number[1]))
    return np.array(indices, dtype=np.int64)


def _labels_of_several(
    table: Path, rows: Sequence[_Row], columns: Columns, class_map: ClassMap | None
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """0 and 1 for every label ``[rows, labels]``, and the names of the labels."""
    if class_map is not None:
        raise UserError(
            f"{table} has a column for each label, whose order is that of the outputs: leave --class-map out"
        )
    for row in rows:
        for name, value in zip(columns.several, row.values, strict=True):
            if value not in ("0", "1"):
                raise UserError(
                    f"{table} line {row.line}: {_shown(name)} is {_shown(value)!r}; expected 0 or 1, or a "
                    f"column called label: {REMEDY}"
                )
    values = [[int(value) for value in row.values] for row in rows]
    return np.array(values, dtype=np.int64), tuple(columns.several)


def _files(table: Path, rows: Sequence[_Row], paths: WrittenPaths) -> tuple[list[str | None], list[str]]:
    """The file of every row, None where it is not there, and a remark on those.

    Raises:
        UserError: A file is listed twice, or more than half are not there.
    """
    files: list[str | None] = []
    missing: list[_Row] = []
    seen: dict[str, int] = {}
    folder = str(table.parent)
    for row in rows:
        file = paths.find(row.path)
        same = os.path.normpath(os.path.join(folder, file or row.path))
        if same in seen:
            raise UserError(
                f"{table} line {row.line} lists {_shown(file or row.path)} again (first in line "
                f"{seen[same]}); expected every image once, because splits must not share images"
            )
        seen[same] = row.line
        files.append(file)
        if file is None:
            missing.append(row)
    if not missing:
        return files, []
    first = f"line {missing[0].line}, {_shown(missing[0].path)}"
    if 2 * len(missing) > len(rows):
        raise UserError(
            f"{len(missing)} of {len(rows)} files of {table} are not there (first: {first})"
            f"{paths.hint(missing[0].path)}"
        )
    return files, [
        f"{table}: {count_of(len(missing), 'row')} left out whose files are not there (first: {first})"
    ]


def _shown(text: str) -> str:
    """A value as a part of a message: in one line, and not too long."""
    text = "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
