"""The journal file of a study: mended after a kill, before Optuna reads it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from bitfront.evaluators.atomic import explained

logger = logging.getLogger(__name__)


def mend_journal(path: Path) -> int:
    """Cuts off a last line that a killed process left incomplete; returns how many bytes were cut.

    Only the holder of the run's lock may call this. An incomplete line was never acknowledged, so nothing
    that was reported as recorded is lost.
    """
    if not path.exists():
        return 0
    content = path.read_bytes()
    kept = content[: content.rfind(b"\n") + 1]
    while kept and not _is_json(last_line(kept)):
        kept = kept[: -len(last_line(kept))]
    cut = len(content) - len(kept)
    if cut:
        logger.warning("%s: cut an incomplete last line of %d bytes", path.name, cut)
        with explained(path), path.open("r+b") as file:
            file.truncate(len(kept))
    return cut


def remove_stale_locks(path: Path) -> None:
    """Removes Optuna's lock files beside a journal; only the holder of the run's lock may call this."""
    for lock in path.parent.glob(f"{path.name}.lock*"):
        logger.warning("removed the lock %s of a process that is gone", lock.name)
        with explained(lock):
            lock.unlink(missing_ok=True)


def last_line(content: bytes) -> bytes:
    """The last line of a text that ends in a newline, with its newline."""
    return content[content.rfind(b"\n", 0, -1) + 1 :]


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
