"""Files that a reader never sees half of, failures to write told in one line, and the user's cache folder."""

from __future__ import annotations

import csv
import errno
import io
import json
import logging
import math
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bitfront.spaces import BitfrontError, UserError

logger = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG)

UNFINISHED = ".part"  # ending of the files that `replacing` has not finished
_SHOWN_NAME = 40  # characters of the final name in an unfinished file's, which ends at 255 bytes
CACHE_VARIABLE = "BITFRONT_CACHE"
CACHE_OFF = "off"


def split_entry(place: str) -> tuple[str, str | None]:
    """A weights file and the entry in it, of ``FILE`` or ``FILE:ENTRY``.

    A file of the whole name is that file; where there is no such file before a colon (as in ``C:/w.pth``) the
    whole is the name of a file.
    """
    found = place.rfind(":") if not os.path.exists(place) else -1
    while found > 0:
        if os.path.exists(place[:found]):
            return place[:found], place[found + 1 :]
        found = place.rfind(":", 0, found)
    return place, None


def with_entry_of(old: str | None, new: str) -> str:
    """The new place of a weights file that was named with an entry, which is kept where none is given.

    Args:
        old: ``FILE`` or ``FILE:ENTRY``; the file may be gone.
        new: The same of a file that is there.
    """
    name = re.split(r"[/\\]", old or "")[-1]
    file, colon, entry = name.rpartition(":")
    same = Path(split_entry(new)[0]).name == name  # a name with a colon in it, which is no entry
    kept = len(file) > 1 and entry and not same and split_entry(new)[1] is None
    return f"{new}{colon}{entry}" if kept else new


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns a failure to write ``path`` into the project's errors.

    Raises:
        UserError: The place is not writable, or no folder.
        BitfrontError: The disk is full, or writing failed otherwise.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in _FORBIDDEN:
            raise UserError(
                f"cannot write {path}: {reason}; make the folder writable, or choose another"
            ) from error
        if error.errno in _NO_FOLDER:
            raise UserError(f"cannot write {path}: {reason}; choose a folder that can hold it") from error
        remedy = "free some space" if error.errno in _FULL else "fix that"
        raise BitfrontError(f"cannot write {path}: {reason}; {remedy} and try again") from error


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns a refusal to let ``path`` be read into the project's errors; that it is missing passes through.

    Raises:
        UserError: It may not be read.
        BitfrontError: Reading failed otherwise.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        place = error.filename or path
        if error.errno in _FORBIDDEN:
            raise UserError(f"cannot read {place}: {reason}; have its owner let you read it") from error
        raise BitfrontError(f"cannot read {place}: {reason}; mend that and try again") from error


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A file to write in place of ``path``: it takes the place when the block ends, unless that raises.

    The file does not exist yet, lies beside ``path`` and has a name of its own, so that several processes and
    threads may replace the same file at once: the last one wins, and each file is whole.

    Args:
        path: What is replaced, or made.
        durable: Whether the content is on the disk before the block ends, so that a power cut cannot leave
            an empty file.

    Raises:
        OSError: The file could not be written or renamed; nothing is left of it.
    """
    part = path.with_name(f".{path.name[:_SHOWN_NAME]}.{secrets.token_hex(6)}{UNFINISHED}")
    try:
        yield part
        if durable:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes ``content``, text as UTF-8, to ``path`` as a whole or not at all, to the disk before it returns.

    Raises:
        UserError: The folder is not writable.
        BitfrontError: The disk is full, or writing failed otherwise.
    """
    with explained(path), replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(path: Path, *, overwrite: bool = True, make_folder: bool = False) -> None:
    """Finds out before long work whether a file can be written.

    Args:
        path: The file.
        overwrite: Whether it may exist.
        make_folder: Whether a missing folder is made, in one that is there: a name that was mistyped makes
            none. Otherwise it is refused.

    Raises:
        UserError: There is no such folder, it is not writable, the path is itself a folder, or a file that
            may not be overwritten.
        BitfrontError: The disk is full.
    """
    with explained(path):
        if path.is_dir():
            raise UserError(f"cannot write {path}: it is a folder; expected the name of a file")
        needed = path.parent.parent if make_folder else path.parent
        if not needed.exists():
            raise UserError(f"cannot write {path}: there is no folder {needed}; make it, or choose another")
        if make_folder:
            path.parent.mkdir(exist_ok=True)
        elif not needed.is_dir():
            raise UserError(f"cannot write {path}: {needed} is no folder; choose another")
        if not overwrite and path.exists():
            raise UserError(f"{path} exists: choose another file, or overwrite it with --force")
        tempfile.TemporaryFile(dir=path.parent).close()


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder of kept files, which need not exist; None where nothing is to be kept.

    ``BITFRONT_CACHE`` names it, or keeps nothing where it is empty or ``off``. Without it, it is ``bitfront``
    in ``XDG_CACHE_HOME``, in Windows' ``LOCALAPPDATA`` or in ``~/.cache``, whichever is there first.
    """
    named = environment.get(CACHE_VARIABLE)
    try:
        if named is not None:
            return None if named.strip().lower() in ("", CACHE_OFF) else Path(named).expanduser().absolute()
        for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            base = Path(environment.get(variable, ""))
            if base.is_absolute():  # the XDG specification has relative paths ignored
                return base / "bitfront"
        return Path.home() / ".cache" / "bitfront"
    except RuntimeError:  # a user without a home, as in some containers
        logger.warning("nothing is cached: there is no home folder; set %s to a folder", CACHE_VARIABLE)
        return None


def csv_text(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A CSV table as text: a line of headings, then one for each row; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(list(header))
    writer.writerows(rows)
    return text.getvalue()


def parsed_json(text: str | bytes) -> Any:
    """A JSON document of a file, which may be anybody's.

    Raises:
        ValueError: It is none, or nested deeper than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def finite(value: Any) -> Any:
    """A nested value as JSON can hold it: figures that are not defined become null, tuples lists."""
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
