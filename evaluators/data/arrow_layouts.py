"""Where the tables of a data set are: as ``datasets`` saves it, or as parquet files are laid out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bitfront.evaluators.data.arrow_files import ARROW_SUFFIX, PARQUET_SUFFIX
from bitfront.evaluators.data.parts import part_of, parts_among
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

# What ``datasets`` writes beside the tables of a data set, and beside the folders of its parts.
_SAVED, _SAVED_PARTS = "state.json", "dataset_dict.json"
_DATA = "data"  # where repositories of data sets have their files
# Folders that are searched for one with parquet files; class folders are more.
_MOST_FOLDERS = 8
_LARGEST_BYTES = 50_000_000


@dataclass(frozen=True)
class TablePart:
    """Files of a part of a data set.

    Attributes:
        files: The files, in order.
        part: One of :data:`~bitfront.evaluators.data.parts.PARTS`; None where the data set has no parts.
    """

    files: tuple[Path, ...]
    part: str | None = None


def holds_tables(path: Path) -> bool:
    """Whether a path is a parquet or Arrow file, or a folder of them."""
    if path.is_file():
        return path.suffix.lower() in (PARQUET_SUFFIX, ARROW_SUFFIX)
    return (path / _SAVED).is_file() or (path / _SAVED_PARTS).is_file() or _parquet_folder(path) is not None


def table_parts(path: Path) -> tuple[list[TablePart], list[str]]:
    """The files of a data set by parts, and the names of what is left out.

    Raises:
        UserError: A list of files is damaged or names none, or none of several parts has a usual name.
    """
    if path.is_file():
        return [TablePart((path,))], []
    if (path / _SAVED_PARTS).is_file():
        names = _names(path / _SAVED_PARTS, "splits")
        return _by_parts(path, {name: _saved(path / name) for name in names})
    if (path / _SAVED).is_file():
        return [TablePart(_saved(path))], []
    folder = _parquet_folder(path)
    assert folder is not None, "the path holds tables"
    inner = {name: _parquet(folder / name) for name in _folders(folder) if part_of(name)}
    if any(inner.values()):
        return _by_parts(folder, {name: files for name, files in inner.items() if files})
    groups: dict[str, tuple[Path, ...]] = {}
    for file in _parquet(folder):  # train-00000-of-00002.parquet
        group = file.stem.split("-")[0]
        groups[group] = (*groups.get(group, ()), file)
    return _by_parts(folder, groups if any(map(part_of, groups)) else {"": _parquet(folder)})


def _by_parts(path: Path, groups: Mapping[str, tuple[Path, ...]]) -> tuple[list[TablePart], list[str]]:
    if len(groups) == 1:
        return [TablePart(next(iter(groups.values())))], []
    found, _ = parts_among(groups)
    if not found:
        raise UserError(
            f"{path} has the parts {', '.join(groups)}, and none is called train, validation or test: give "
            f"one of them, such as {path / next(iter(groups))}"
        )
    left_out = [name for name in groups if name not in found.values()]
    return [TablePart(groups[name], part) for part, name in found.items()], left_out


def _saved(folder: Path) -> tuple[Path, ...]:
    """The files of one part that ``datasets`` saved."""
    return tuple(folder / name for name in _names(folder / _SAVED, "_data_files"))


def _names(path: Path, field: str) -> list[str]:
    """Names of files or folders beside a JSON file, which lists them in a field."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST_BYTES))
        names = [entry["filename"] if isinstance(entry, dict) else entry for entry in content[field]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"cannot read {path} ({one_line(error, 80)}): save the data set again") from error
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise UserError(f"{path} lists no files that are beside it: save the data set again")
    return names


def _parquet_folder(path: Path) -> Path | None:
    """The folder of parquet files: this one, its ``data`` folder, or the only one in it that has some."""
    for folder in (path, path / _DATA):
        if _has_parquet(folder):
            return folder
    folders = _folders(path)
    if len(folders) > _MOST_FOLDERS:
        return None
    found = [path / name for name in folders if _has_parquet(path / name)]
    return found[0] if len(found) == 1 else None


def _has_parquet(folder: Path) -> bool:
    parts = (folder / name for name in _folders(folder) if part_of(name))
    return bool(_parquet(folder)) or any(map(_parquet, parts))


def _parquet(folder: Path) -> tuple[Path, ...]:
    """The parquet files in a folder itself, by name."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError:
        return ()
    return tuple(folder / name for name in names if Path(name).suffix.lower() == PARQUET_SUFFIX)


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return []
