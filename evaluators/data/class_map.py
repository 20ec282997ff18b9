"""Which output of a model each class stands for: by the order of the names, or by a file that says so."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

# Orders of class folders: torchvision's, sorted names of the folders at the top; and timm's, in which numbers
# in names count by their value, case does not count, and the folder that holds an image is its class.
PLAIN, NATURAL = "plain", "natural"
CLASS_ORDERS = (PLAIN, NATURAL)
FORMS = (
    "a text file with one class name a line, a .csv or .tsv file of name,index, or JSON such as "
    '{"name": index} or {"index": "name"}'
)
# No head has as many outputs.
LARGEST_INDEX = 1_000_000
# Names that a message lists.
_SHOWN = 5
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_PICKLES = (".pkl", ".pickle")


def natural_key(name: str) -> list[int | str]:
    """A key by which names come in timm's order: without case, and numbers by their value."""
    parts = re.split(r"(\d+)", name.lower())  # every second part is a number
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def ordered(names: Iterable[str], class_order: str) -> list[str]:
    """Class names in one of :data:`CLASS_ORDERS`; where timm's leaves it to chance, sorted."""
    found = sorted(names)
    return sorted(found, key=natural_key) if class_order == NATURAL else found


@dataclass(frozen=True)
class ClassMap:
    """Which output of a model each class name stands for.

    Attributes:
        path: The file.
        indices: Output of every name; names that the file gives to several outputs are left out.
        names: Name of every output up to the last one that has a name; its number where it has none.
    """

    path: Path
    indices: Mapping[str, int]
    names: tuple[str, ...]

    def lookup(self, names: Iterable[str], what: str) -> list[int]:
        """Outputs of class names.

        Args:
            names: What is looked up.
            what: Where the names are from, for the message.

        Raises:
            UserError: The map lacks some of them, or has them for several outputs; they are named.
        """
        wanted = list(names)
        missing = [name for name in dict.fromkeys(wanted) if name not in self.indices]
        if missing:
            several = [name for name in missing if name in self.names and self.names.count(name) > 1]
            why = "has several lines for" if several else "lacks"
            shown = several or missing
            more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
            raise UserError(
                f"the class map {self.path} {why} {', '.join(map(repr, shown[:_SHOWN]))}{more}, which {what} "
                f"has; expected every class once: add the names, or give another --class-map"
            )
        return [self.indices[name] for name in wanted]


@dataclass(frozen=True)
class NumberedClasses:
    """Class indices of images whose classes are named.

    Attributes:
        labels: The index for every image.
        names: Name of every index.
        two_orders: Whether they are in the plain order, and timm's gives other indices.
    """

    labels: tuple[int, ...]
    names: tuple[str, ...]
    two_orders: bool = False


def numbered(
    classes: Sequence[str], what: str, class_order: str | None = None, class_map: ClassMap | None = None
) -> NumberedClasses:
    """Class indices by the order of the names, or by a class map.

    Args:
        classes: Name of the class of every image.
        what: Where the names are from, for messages.
        class_order: ``plain`` or ``natural``; None for the plain one.
        class_map: Which output each name stands for; None for its position in the order.

    Raises:
        UserError: The map lacks a class.
    """
    if class_map is not None:
        return NumberedClasses(tuple(class_map.lookup(classes, what)), class_map.names)
    found = set(classes)
    names = ordered(found, class_order or PLAIN)
    positions = {name: position for position, name in enumerate(names)}
    two_orders = class_order is None and names != ordered(found, NATURAL)
    return NumberedClasses(tuple(positions[name] for name in classes), tuple(names), two_orders)


def read_class_map(path: Path) -> ClassMap:
    """Reads a class map: timm's text form, where the number of a line, from 0, is the index, and others.

    A file of Hugging Face's configuration is read for its ``id2label``.

    Raises:
        UserError: The file is a pickle, which would run code, or none of :data:`FORMS`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the class map {path}: {error.strerror}; expected {FORMS}") from error
    if path.suffix.lower() in _PICKLES or content.startswith(b"\x80"):
        raise UserError(
            f"the class map {path} is a pickle, which can run any code when it is read; expected {FORMS}"
        )
    try:
        text = content.decode("utf-8-sig")
        pairs = list(_pairs(path.suffix.lower(), text))
        return _class_map(path, pairs)
    except (ValueError, RecursionError, csv.Error) as error:
        raise UserError(
            f"the class map {path} cannot be read: {one_line(error)}; expected {FORMS}"
        ) from error


def _class_map(path: Path, pairs: Sequence[tuple[str, int]]) -> ClassMap:
    if not pairs:
        raise ValueError("it has no class names")
    outside = [index for _, index in pairs if not 0 <= index <= LARGEST_INDEX]
    if outside:
        raise ValueError(f"{outside[0]} is no index of an output")
    indices: dict[str, int] = {}
    for name, index in pairs:
        if indices.setdefault(name, index) != index:
            indices[name] = -1
    names = [str(index) for index in range(max(index for _, index in pairs) + 1)]
    for name, index in reversed(pairs):  # the first of several names is kept
        names[index] = name
    return ClassMap(path, {name: index for name, index in indices.items() if index >= 0}, tuple(names))


def _pairs(suffix: str, text: str) -> Iterator[tuple[str, int]]:
    """Names with their indices, in the order of the file."""
    if suffix == ".json" or text.lstrip().startswith("{"):
        return _json_pairs(json.loads(text))
    if suffix in _SEPARATORS:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=_SEPARATORS[suffix]) if any(row)]
        if any(len(row) > 1 for row in rows):
            return _column_pairs([[field.strip() for field in row] for row in rows])
    lines = enumerate(line.strip() for line in io.StringIO(text, newline=None))
    return ((name, index) for index, name in lines if name)


def _column_pairs(rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, int]]:
    """Pairs of name,index, or of index,name where the first alone are numbers; a header is passed over."""
    if any(len(row) != 2 for row in rows):
        number, row = next((n, row) for n, row in enumerate(rows, start=1) if len(row) != 2)
        raise ValueError(f"row {number} has {len(row)} columns, not name,index")
    if not any(_is_index(field) for field in rows[0]):
        rows = rows[1:]
    turned = all(_is_index(first) for first, _ in rows) and not all(_is_index(second) for _, second in rows)
    for first, second in rows:
        name, index = (second, first) if turned else (first, second)
        if not _is_index(index):
            raise ValueError(f"{index!r}, the index of {name!r}, is no whole number")
        yield name, int(index)


def _json_pairs(document: Any) -> Iterator[tuple[str, int]]:
    """Pairs of a list of names, of name: index, or of index: name."""
    if isinstance(document, dict) and isinstance(document.get("id2label"), dict):
        document = document["id2label"]
    if isinstance(document, list):
        document = {str(index): name for index, name in enumerate(document)}
    if not isinstance(document, dict):
        raise ValueError("the JSON is neither a list nor an object")
    for key, value in document.items():
        if type(value) is int:
            yield key, value
        elif isinstance(value, str) and _is_index(key):
            yield value, int(key)
        else:
            raise ValueError(f"the entry {str(key)[:40]!r} is no pair of a name and an index")


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_INDEX))
