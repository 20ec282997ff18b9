"""Which columns of a table are the paths of images and their labels, by name or by what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bitfront.evaluators.data.text_table import TextTable
from bitfront.evaluators.data.written_paths import WrittenPaths
from bitfront.spaces import UserError

# Where images have any number of labels, a column of 0 and 1 for each stands for the last.
COLUMNS = ("path", "label")
# Names that are as good where a table has one of them alone, in any case and with or without underscores.
PATH_NAMES = frozenset({
    "path", "paths", "file", "files", "filename", "filenames", "filepath", "image", "images", "img",
    "imagepath", "imgpath", "imagefile", "imagename", "imgname", "imagefilename",
})  # fmt: skip
LABEL_NAMES = frozenset({
    "label", "labels", "class", "classes", "target", "targets", "category", "categories", "classid",
    "labelid", "categoryid", "targetid", "classidx", "labelidx", "classindex", "labelindex", "classname",
    "labelname", "categoryname", "classlabel",
})  # fmt: skip
# Columns that say what images are for.
SPLIT_NAMES = frozenset({"split", "subset", "partition", "fold", "isvalid", "istest", "phase", "usage"})
TABLE_FORMS = "path,label, or path and a column of 0 and 1 for each of several labels"
LARGEST_LABEL = 2**31 - 1
# Characters of the names of columns in a message.
LONGEST_LISTED = 300
REMEDY = "name them with --columns PATH,LABEL"


@dataclass(frozen=True)
class Columns:
    """Positions of the path and of the label, or of each of several labels by its name."""

    path: int
    label: int | None = None
    several: dict[str, int] = field(default_factory=dict)


def columns_of(found: TextTable, asked: Sequence[str], paths: WrittenPaths) -> tuple[Columns, list[str]]:
    """The columns of a table, and a remark where they are not called as usual.

    Args:
        found: The table.
        asked: Names of the columns of path and label, or of path and each label; none to find them.
        paths: Finds files by their paths.

    Raises:
        UserError: There are no such columns, or several that may be meant; all are named.
    """
    table, header = found.path, found.header
    first = found.rows[0][1] if found.rows else []
    if header is None:
        columns = bare_columns(first, paths)
        assert columns is not None, "the table was taken for one without names"
        return columns, [f"{table}: the first line is taken for an image, not for names of columns"]
    columns = header_columns(header, asked) or (None if asked else _columns_by_files(header, first, paths))
    if columns is None or len(set(header)) < len(header):
        expected = ",".join(asked) or f"{TABLE_FORMS}; {REMEDY}"
        listed = " ".join(",".join(header).split())[:LONGEST_LISTED] or "(none)"
        raise UserError(f"{table} has the columns {listed}; expected {expected}")
    if not asked and COLUMNS[1] not in header and header[columns.path] == COLUMNS[0]:
        columns = _several_labels(found, columns) or columns
    taken = {columns.path, columns.label, *columns.several.values()}
    remarks = [
        f"{table}: the column {name} is not used; --calibration-data, --data, --test-data take a table each"
        for place, name in enumerate(header)
        if plain_name(name) in SPLIT_NAMES and place not in taken
    ]
    names = tuple(header[place] for place in (columns.path, columns.label) if place is not None)
    if not asked and names not in (COLUMNS, COLUMNS[:1]):
        several = "" if columns.label is not None else " and one of 0 and 1 for each label"
        remarks.insert(0, f"{table}: took the columns {' '.join(','.join(names).split())}{several}")
    return columns, remarks


def _several_labels(found: TextTable, columns: Columns) -> Columns | None:
    """A column for each label where all but the path have 0 and 1 alone, as earlier versions took them."""
    others = {name: place for place, name in enumerate(found.header or ()) if place != columns.path}
    values = {fields[place] for _, fields in found.rows for place in others.values() if place < len(fields)}
    return Columns(columns.path, None, others) if len(others) > 1 and values <= {"0", "1"} else None


def header_columns(header: Sequence[str], asked: Sequence[str]) -> Columns | None:
    """Which columns are meant, by their names alone; None where these do not tell."""
    if asked:
        if any(name not in header for name in asked):
            return None
        path, *labels = map(header.index, asked)
        if len(labels) == 1:
            return Columns(path, labels[0])
        return Columns(path, None, {header[place]: place for place in labels})
    found = _one_named(header, COLUMNS[0], PATH_NAMES)
    label = _one_named(header, COLUMNS[1], LABEL_NAMES)
    if found is None and label is not None and len(header) == 2:
        return Columns(1 - label, label)
    return None if found is None else _with_labels(header, found)


def _one_named(
    header: Sequence[str], usual: str, names: frozenset[str], without: int | None = None
) -> int | None:
    if usual in header:
        return header.index(usual)
    found = [i for i, name in enumerate(header) if plain_name(name) in names and i != without]
    return found[0] if len(found) == 1 else None


def plain_name(name: str) -> str:
    """A column's name without case, underscores and the like."""
    return name.lower().translate(str.maketrans("", "", "_- "))


def _with_labels(header: Sequence[str], path: int) -> Columns | None:
    label = _one_named(header, COLUMNS[1], LABEL_NAMES, path)
    others = {name: place for place, name in enumerate(header) if place != path}
    if label is not None or len(others) == 1:
        return Columns(path, next(iter(others.values())) if label is None else label)
    ambiguous = any(plain_name(name) in LABEL_NAMES for name in others)
    return None if ambiguous or len(others) < 2 else Columns(path, None, others)


def _columns_by_files(header: Sequence[str], first: Sequence[str], paths: WrittenPaths) -> Columns | None:
    """The columns where the first row alone tells which one names a file."""
    found = [place for place, value in enumerate(first[: len(header)]) if paths.find(value)]
    return _with_labels(header, found[0]) if len(found) == 1 else None


def bare_columns(fields: Sequence[str], paths: WrittenPaths) -> Columns | None:
    """The columns of a table without names: two, of which one is a file that is there."""
    there = [bool(paths.find(value)) for value in fields]
    return Columns(there.index(True), there.index(False)) if sorted(there) == [False, True] else None
