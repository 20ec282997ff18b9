"""Images in tables: data sets that ``datasets`` saved, parquet and Arrow files."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bitfront.evaluators.data.arrow_files import TableFile, features_of, open_table_file
from bitfront.evaluators.data.arrow_layouts import table_parts
from bitfront.evaluators.data.class_map import ClassMap, NumberedClasses, numbered
from bitfront.evaluators.data.parts import sides_of
from bitfront.evaluators.data.source import CorruptImageError, decode_image
from bitfront.evaluators.data.table_columns import (
    LABEL_NAMES,
    LARGEST_LABEL,
    LONGEST_LISTED,
    PATH_NAMES,
    plain_name,
)
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

LARGEST_IMAGE = 64 * 2**20  # bytes of a file
IMAGE, LABEL = "image", "label"
_UNLABELLED = -1  # as Hugging Face has it


@dataclass(frozen=True, eq=False)
class TableImages:
    """Labelled rows of tables; satisfies :class:`~bitfront.evaluators.data.source.ImageSource`.

    Attributes:
        name: What the user called them.
        files: The tables.
        column: The column of the images: bytes, paths, or both as Hugging Face has them.
        rows: Number of the table and row in it of every image, int64 ``[images, 2]``.
        labels: Class indices ``[images]``, or 0 and 1 for every label ``[images, labels]``.
        partition: What every image may serve for, or None.
        class_names: Name of every class index, or None.
        remarks: What was left out, a sentence each.
        two_orders: Whether classes are named in the table, and timm's order of the names gives other labels.
    """

    name: str
    files: tuple[TableFile, ...]
    column: str
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    partition: NDArray[np.str_] | None = None
    class_names: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    two_orders: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, index: int) -> Image.Image:
        """The decoded image at ``index``; raises CorruptImageError where it cannot be read."""
        file, row = self.files[int(self.rows[index, 0])], int(self.rows[index, 1])
        try:
            value = file.item(self.column, row)
        except UserError as error:
            raise CorruptImageError(str(error)) from error
        fields = value if isinstance(value, dict) else {"bytes": value}
        content, path = fields.get("bytes"), fields.get("path")
        if isinstance(content, str):
            content, path = None, content
        if content is None and path:
            return decode_image(file.path.parent / path, self.describe(index))
        if not isinstance(content, bytes):
            raise CorruptImageError(f"{self.describe(index)}: no image")
        if len(content) > LARGEST_IMAGE:
            raise CorruptImageError(
                f"{self.describe(index)}: {len(content)} bytes, more than {LARGEST_IMAGE}"
            )
        return decode_image(io.BytesIO(content), self.describe(index))

    def describe(self, index: int) -> str:
        """``<file> row <row>``, rows from 0."""
        return f"{self.files[int(self.rows[index, 0])].path} row {int(self.rows[index, 1])}"


def read_table_images(
    path: Path,
    name: str,
    columns: Sequence[str] = (),
    class_order: str | None = None,
    class_map: ClassMap | None = None,
) -> TableImages:
    """Opens a data set of tables; images stay in their files until they are loaded.

    ``train`` beside ``validation`` or ``test`` gives a partition. Rows without a label are left out.

    Args:
        path: A parquet or Arrow file, a folder of parquet files, or what ``datasets`` saved.
        name: What the user called it.
        columns: Names of the columns of image and label; none to take the only ones that may be meant.
        class_order: Of classes that are named in the rows; see
            :func:`~bitfront.evaluators.data.class_map.numbered`.
        class_map: Which output each class name stands for.

    Raises:
        UserError: There are no such tables, their columns may not be told, labels are none, or pyarrow is not
            installed.
    """
    parts, left_out = table_parts(path)
    files = tuple(open_table_file(file) for part in parts for file in part.files)
    image, label = _columns(files[0], columns)
    classes = _Classes.of(features_of(files[0].schema).get(label))
    for file in files[1:]:
        same = _Classes.of(features_of(file.schema).get(label)) == classes
        if not same or not {image, label} <= file.types.keys():
            raise UserError(
                f"{file.path} has other columns or classes than {files[0].path}; expected the same in all"
            )
    values = [value for file in files for value in file.values(label)]
    labelled = np.array([not _is_missing(value) for value in values], dtype=bool)
    if not labelled.any():
        raise UserError(f"{name} lists no images with a label (column {label!r})")
    what = f"{name} (column {label!r})"
    numbers = classes.numbers([v for v in values if not _is_missing(v)], what, class_order, class_map)
    counts = [file.rows for file in files]
    rows = np.stack(
        [np.repeat(np.arange(len(files)), counts), np.concatenate(list(map(np.arange, counts)))], 1
    )
    of_file = [part.part or "" for part in parts for _ in part.files]
    of_row = np.repeat(np.array(of_file), counts)[labelled]
    sides = sides_of(set(of_row.tolist()) - {""})
    remarks = [f"{name}: took the parts {', '.join(sides)}"] if sides else []
    remarks += [f"{name}: {', '.join(left_out)} left out"] if left_out else []
    if not columns and (image, label) != (IMAGE, LABEL):
        remarks.append(f"{name}: took the columns {' '.join(f'{image},{label}'.split())}")
    if not labelled.all():
        remarks.append(f"{name}: {count_of(int((~labelled).sum()), 'row')} without a label left out")
    return TableImages(
        name,
        files,
        image,
        rows[labelled].astype(np.int64),
        np.array(numbers.labels, dtype=np.int64),
        np.array([sides[part] for part in of_row.tolist()]) if sides else None,
        numbers.names,
        tuple(remarks),
        numbers.two_orders,
    )


def _columns(file: TableFile, asked: Sequence[str]) -> tuple[str, str]:
    """Names of the columns of image and label."""
    features = features_of(file.schema)
    listed = " ".join(",".join(file.types).split())[:LONGEST_LISTED]
    if asked:
        if len(asked) != 2 or not set(asked) <= file.types.keys():
            raise UserError(f"{file.path} has the columns {listed}; expected {','.join(asked)}")
        images, labels = [asked[0]], [asked[1]]
    else:
        images = [name for name, kind in file.types.items() if _holds_bytes(kind)]
        images = images or [name for name in file.types if plain_name(name) in PATH_NAMES]
        others = [name for name in file.types if name not in images]
        classes = [name for name in others if _Classes.of(features.get(name)).names is not None]
        labels = classes or [name for name in others if plain_name(name) in LABEL_NAMES] or others
        images = [IMAGE] if IMAGE in images else images
        labels = [LABEL] if LABEL in labels else labels
    if len(images) != 1 or len(labels) != 1:
        raise UserError(
            f"{file.path} has the columns {listed}; expected one of images (bytes or paths) and one of "
            "labels: name them with --columns IMAGE,LABEL"
        )
    kind = file.types[images[0]]
    if not _holds_bytes(kind) and str(kind) not in ("string", "large_string"):
        raise UserError(
            f"{file.path} has in the column {images[0]} no files of images but {str(kind)[:40]}; expected "
            "bytes of image files, or paths"
        )
    return images[0], labels[0]


def _holds_bytes(kind: Any) -> bool:
    """Whether a column of this type has files of images, as Hugging Face has them or as bytes alone."""
    from pyarrow import types

    inner = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return bool(inner or types.is_binary(kind) or types.is_large_binary(kind))


def _is_missing(value: Any) -> bool:
    return value is None or value in ("", _UNLABELLED) or (isinstance(value, float) and math.isnan(value))


@dataclass(frozen=True)
class _Numbers:
    """Labels as numbers, and their names, as :class:`~bitfront.evaluators.data.class_map.NumberedClasses`."""

    labels: Sequence[int] | NDArray[np.int64]
    names: tuple[str, ...] | None = None
    two_orders: bool = False


@dataclass(frozen=True)
class _Classes:
    """What ``datasets`` says of a column of labels: the names of its classes; None where it says nothing."""

    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, feature: Any) -> _Classes:
        """The names in a feature, or in what a list is of."""
        if isinstance(feature, list) and len(feature) == 1:
            return cls.of(feature[0])
        if isinstance(feature, Mapping):
            names = feature.get("names")
            if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
                return cls(tuple(names))
            return cls.of(feature["feature"]) if "feature" in feature else cls()
        return cls()

    def numbers(
        self, values: Sequence[Any], what: str, class_order: str | None, class_map: ClassMap | None
    ) -> NumberedClasses | _Numbers:
        """Class indices of values, or 0 and 1 for every label where each is a list.

        Raises:
            UserError: They are neither whole numbers throughout nor names throughout, or a class is unknown.
        """
        if all(isinstance(value, list) for value in values):
            return _Numbers(self._several(values, what), self.names)
        if all(isinstance(value, str) for value in values):
            if class_map is not None or not all(value.isascii() and value.isdigit() for value in values):
                return numbered(values, what, class_order, class_map)
            values = [int(value) for value in values]
        if not all(_is_index(value) for value in values):
            wrong = next(value for value in values if not _is_index(value))
            raise UserError(
                f"{what} has the label {str(wrong)[:80]!r}; expected whole numbers from 0, or class names"
            )
        indices = [int(value) for value in values]
        if self.names is None:
            return _Numbers(indices, None if class_map is None else class_map.names)
        if max(indices) >= len(self.names):
            raise UserError(f"{what} has the label {max(indices)}, and names of {len(self.names)} classes")
        if class_map is not None:
            return numbered([self.names[index] for index in indices], what, class_order, class_map)
        return _Numbers(indices, self.names)

    def _several(self, values: Sequence[list[Any]], what: str) -> NDArray[np.int64]:
        """0 and 1 for every label of lists of class indices, or of lists of 0 and 1."""
        width = len(self.names or ())
        if not width and len({len(value) for value in values}) == 1:
            found = np.array(values)
            if found.size and np.isin(found, (0, 1)).all():
                return found.astype(np.int64)
        if not width or any(not _is_index(index) or index >= width for value in values for index in value):
            raise UserError(
                f"{what} has lists that are neither 0 and 1 for each label nor indices of classes with names"
            )
        labels = np.zeros((len(values), width), dtype=np.int64)
        for row, value in enumerate(values):
            labels[row, [int(index) for index in value]] = 1
        return labels


def _is_index(value: Any) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and 0 <= value <= LARGEST_LABEL
