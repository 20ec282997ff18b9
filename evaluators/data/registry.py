"""The data sources: their names, and opening the one that a user gives by name or path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.evaluators.data.source import ImageSource

DIGITS, CLUTTERED = "digits", "cluttered"
CIFAR10 = "cifar10"
_COPY = f"{CIFAR10}:"  # before the path of a copy
_TABLES = "a table of labels (.csv, .tsv, .txt), or a Hugging Face data set on disk (save_to_disk, parquet)"
FORMS = f"{CLUTTERED}, {DIGITS}, {CIFAR10}, {_COPY}PATH, a folder with one sub-folder per class, {_TABLES}"


def path_of(data: str) -> str | None:
    """The path of the files that ``data`` names; None for sources that need none."""
    return None if data in (CLUTTERED, DIGITS, CIFAR10) else data.removeprefix(_COPY)


def with_absolute_path(data: str) -> str:
    """``data`` with an absolute path where it has one, so that it can be opened from any folder."""
    path = path_of(data)
    return data if path is None else data.removesuffix(path) + os.path.abspath(path)


def open_sources(
    data: str,
    calibration_data: str | None = None,
    test_data: str | None = None,
    *,
    class_order: str | None = None,
    class_map: str | None = None,
    columns: Sequence[str] = (),
) -> ImageSource:
    """The source of all splits, where those to calibrate and to report on may be elsewhere.

    Args:
        data: What the search sees; one of :data:`FORMS`, as the others.
        calibration_data: Where calibration images are; None for ``data``.
        test_data: Where test images are; None for ``data``.
        class_order: See :func:`open_source`.
        class_map: See :func:`open_source`.
        columns: As of :func:`open_source`, for those of them that are tables.

    Raises:
        UserError: One of them cannot be opened, or they do not fit each other.
        BitfrontError: CIFAR-10 cannot be downloaded.
    """
    places = dict.fromkeys(place for place in (data, calibration_data, test_data) if place is not None)
    tables = [place for place in places if is_table(place)]
    if columns and not tables:
        raise UserError(f"--columns {','.join(columns)} is for tables, and {data} is none: leave it out")
    found = {
        place: open_source(place, class_order, class_map, columns if place in tables else ())
        for place in places
    }
    if calibration_data is None and test_data is None:
        return found[data]
    from bitfront.evaluators.data.joined import join_sources

    others = (None if place is None else found[place] for place in (calibration_data, test_data))
    return join_sources(found[data], *others)


def is_table(data: str) -> bool:
    """Whether ``data`` names a table, which has columns."""
    from bitfront.evaluators.data.arrow_layouts import holds_tables

    return path_of(data) == data and (os.path.isfile(data) or holds_tables(Path(data)))


def open_source(
    data: str, class_order: str | None = None, class_map: str | None = None, columns: Sequence[str] = ()
) -> ImageSource:
    """The source that ``data`` names: one of :data:`FORMS`.

    Args:
        data: The name or path.
        class_order: Order of class names, ``plain`` or ``natural``; see
            :func:`~bitfront.evaluators.data.class_folders.read_image_folder`.
        class_map: A file that says which output each class name stands for; see
            :mod:`~bitfront.evaluators.data.class_map`.
        columns: Of a table, the names of the columns of path and label; none to find them.

    Raises:
        UserError: There is no such source, or it holds no usable images or has no names for a class map.
        BitfrontError: CIFAR-10 cannot be downloaded.
    """
    if class_map is not None and path_of(data) != data:
        raise UserError(
            f"--class-map {class_map} is for class folders and tables; {data!r} has classes of its own: "
            "leave it out"
        )
    if data == CLUTTERED:
        from bitfront.evaluators.data.cluttered import ClutteredDigitsSource

        return ClutteredDigitsSource()
    if data == DIGITS:
        from bitfront.evaluators.data.digits import DigitsSource

        return DigitsSource()
    if data == CIFAR10:
        from bitfront.evaluators.data.cifar10 import download_cifar10

        return download_cifar10()
    if data.startswith(_COPY) and data != _COPY:
        from bitfront.evaluators.data.cifar10 import read_cifar10

        return read_cifar10(Path(data.removeprefix(_COPY)))
    path = Path(data)
    if not data or not path.exists():
        raise UserError(f"no such data: {data!r}; expected {FORMS}")
    from bitfront.evaluators.data.class_map import read_class_map

    found = None if class_map is None else read_class_map(Path(class_map))
    from bitfront.evaluators.data.arrow_layouts import holds_tables

    if holds_tables(path):
        from bitfront.evaluators.data.arrow_tables import read_table_images

        return read_table_images(path, data, columns, class_order, found)
    if path.is_dir():
        from bitfront.evaluators.data.class_folders import read_image_folder

        return read_image_folder(path, data, class_order, found)
    from bitfront.evaluators.data.labels_table import SUFFIXES, read_labels_table

    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{data} is no table of labels ({', '.join(SUFFIXES)}); expected {FORMS}")
    return read_labels_table(path, data, columns, class_order, found)
