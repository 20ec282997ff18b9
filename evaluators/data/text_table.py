"""Tables in text files as people write them: encodings, separators, quotes, names of columns or none."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

SPACE = " "
# Spaces come last: they are in names, too, so that only the last one of a line separates.
SEPARATORS = (",", ";", "\t", "|", SPACE)
# A first line by which spreadsheets name the separator.
_NAMED_SEPARATOR = "sep="
_WHAT_ENCODING = "expected a UTF-8 text file: save the table as that"

Row = tuple[int, list[str]]  # number of the line that it ends in, and fields without blanks around them


@dataclass(frozen=True)
class TextTable:
    """A table whose separator is known.

    Attributes:
        path: The file.
        header: Names of the columns; None where the first line is a row as the others.
        rows: What follows, without empty lines.
        remarks: What is out of the common, a sentence each.
    """

    path: Path
    header: tuple[str, ...] | None
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()


def read_text_table(
    path: Path, is_header: Callable[[Sequence[str]], bool], is_row: Callable[[Sequence[str]], bool]
) -> TextTable:
    """Reads a table, whose separator is the one by which its first line makes sense.

    Args:
        path: The file.
        is_header: Whether fields name the columns that are needed.
        is_row: Whether they are a row of a table without names.

    Returns:
        The table. Where no separator makes sense of the first line, that line counts as the header, in as
        many fields as a separator other than blanks gives.

    Raises:
        UserError: It cannot be read, is no text, or has an unclosed quote.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {one_line(error)}; expected a text file") from error
    text, remarks = _decoded(content, path)
    first, _, rest = text.partition("\n")
    separators: Sequence[str] = SEPARATORS
    if any(separator in first for separator in SEPARATORS if separator != SPACE):
        separators = [separator for separator in SEPARATORS if separator != SPACE]
    first = first.rstrip("\r")
    if first.lower().startswith(_NAMED_SEPARATOR) and len(first) == len(_NAMED_SEPARATOR) + 1:
        separators, text = (first[-1],), f"\n{rest}"
    begins: dict[str, list[str]] = {}
    for separator in separators:
        with suppress(csv.Error):  # of a wrong separator
            begins[separator] = next(_rows(text, separator), (1, []))[1]
    fitting = (
        (separator, named)
        for tells, named in ((is_header, True), (is_row, False))
        for separator, fields in begins.items()
        if tells(fields)
    )
    widest = max(
        begins or separators, key=lambda separator: (separator != SPACE, len(begins.get(separator, ())))
    )
    separator, named = next(fitting, (widest, True))
    try:
        return _table(path, text, separator, named, remarks)
    except csv.Error as error:
        raise UserError(
            f"cannot read {path}: {error}; expected a text file with one row a line and quotes in pairs"
        ) from error


def _table(path: Path, text: str, separator: str, named: bool, remarks: tuple[str, ...]) -> TextTable:
    rows = _rows(text, separator)
    header = next(rows, (1, []))[1] if named else None
    while header and not header[-1]:  # separators behind the last name
        header.pop()
    return TextTable(path, None if header is None else tuple(header), tuple(rows), remarks)


def _rows(text: str, separator: str) -> Iterator[Row]:
    """The rows that have anything in them."""
    if separator == SPACE:
        for number, line in enumerate(io.StringIO(text, newline=None), start=1):
            if line.strip():
                yield number, line.strip().rsplit(maxsplit=1)
        return
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    for row in reader:
        fields = [field.strip(" ") for field in row]
        if any(fields):
            yield reader.line_num, fields


def _decoded(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """The text, and a remark where its encoding is a guess."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif b"\0" in content:
        raise UserError(
            f"{path} has zero bytes, as UTF-16 without a mark or a file that is no text; {_WHAT_ENCODING}"
        )
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            guessed = f"{path}: not UTF-8, and read as Windows-1252 (western European)"
            return text, (guessed,) if encoding == "cp1252" else ()
    raise UserError(f"{path} is in an unknown encoding; {_WHAT_ENCODING}")
