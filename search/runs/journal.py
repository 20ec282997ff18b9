"""The journal of a study: mended where nothing is lost by it, else refused with the line that is damaged."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.files import explained, parsed_json, write_atomically
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

logger = logging.getLogger(__name__)
JOURNAL = "study.log"
_BEGINS = '{"op_code"'
# Optuna's operation that tells the state and the values of a trial, and a state of those that go on.
_TOLD = b'{"op_code":6,'
_RUNNING = 0


def open_journal(path: Path) -> BaseStorage:
    """Opens a journal, mended where a kill cut it short; only the holder of the run's lock may call this.

    Raises:
        UserError: It is damaged before its last line, or its folder is not writable.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    class Backend(JournalFileBackend):
        """Knows which line is being read."""

        line = 0

        def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
            for self.line, log in enumerate(super().read_logs(log_number_from), start=log_number_from + 1):
                yield log

    with explained(path):
        mend(path)
        for lock in path.parent.glob(f"{path.name}.lock*"):  # of Optuna
            logger.warning("removed the lock %s of a process that is gone", lock.name)
            lock.unlink(missing_ok=True)
        backend = Backend(str(path))
    try:
        return JournalStorage(backend)
    except OSError:
        raise
    except Exception as error:  # what Optuna raises depends on what is missing
        raise damaged(path, f"in line {backend.line}, which does not follow from those before it") from error


def damaged(path: Path, where: str) -> UserError:
    """The error for a journal that cannot be gone on with."""
    return UserError(
        f"{path} is damaged {where}: restore it from a copy, or start a new run with another --run; "
        "trials.csv beside it has what was evaluated"
    )


def mend(path: Path) -> None:
    """Rewrites a journal whose every operation can still be read, and cuts off what a kill left of the last.

    Blank lines are removed, and operations that stand in one line are parted. What was cut short at the end
    was never acknowledged, so nothing that was reported as recorded is lost.

    Raises:
        UserError: Another line is damaged; it is named.
        BitfrontError: The file cannot be written.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    lines = content.split(b"\n")
    written = [number for number, line in enumerate(lines) if line.strip()]
    kept: list[bytes] = []
    faults: list[str] = []
    for number in written:
        found, rest = _operations(lines[number])
        if rest and (number != written[-1] or rest.find(_BEGINS.encode(), 1) > 0):
            raise damaged(path, f"in line {number + 1}, which is no JSON object")
        if rest:
            faults.append(f"cut an incomplete last line of {count_of(len(rest), 'byte')}")
        if len(found) > 1:
            faults.append(f"parted {len(found)} operations in line {number + 1}")
        kept += found
    blank = len(lines) - 1 - len(written) if content.endswith(b"\n") else len(lines) - len(written)
    if blank:
        faults.append(f"removed {count_of(blank, 'blank line')}")
    mended = b"".join(line + b"\n" for line in kept)
    if mended == content:
        return
    logger.warning("%s: %s", path.name, "; ".join(faults) or "ended the last line")
    if content.startswith(mended):  # also possible on a full disk
        with path.open("r+b") as file:
            file.truncate(len(mended))
    else:
        write_atomically(path, mended)


def _operations(line: bytes) -> tuple[list[bytes], bytes]:
    """The JSON objects that a line begins with, as they are written, and what comes behind them."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return [], line
    decoder, found, at = json.JSONDecoder(), list[bytes](), 0
    while at < len(text):
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        if not isinstance(value, dict):
            break
        found.append(text[at:end].encode())
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return found, text[at:].encode()


def evaluations_recorded(path: Path) -> int:
    """How many trials of a journal were evaluated; what cannot be read is not counted."""
    count = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.startswith(_TOLD):
                    continue
                try:
                    count += parsed_json(line)["state"] != _RUNNING
                except (ValueError, KeyError, TypeError):
                    continue
    except OSError:
        return 0
    return count
