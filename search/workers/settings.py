"""What workers may use, and how long the coordinator waits for them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bitfront.spaces import UserError

_UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
# Less does not hold torch and a model.
LEAST_MEMORY = 100_000_000


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of the machine that decide what becomes of an evaluation, but nothing of its result.

    Attributes:
        evaluation_timeout_s: Seconds after which an evaluation counts as hung; None for 20 times the longest
            one so far, but at least 5 minutes.
        memory_bytes: Most memory that a worker of this machine may take; None for an equal share.
        patience_s: Seconds for which a lost scheduler, or one without workers, is waited for.
        preparation_timeout_s: Seconds that loading and preparing the model may take on a worker.
    """

    evaluation_timeout_s: float | None = None
    memory_bytes: int | None = None
    patience_s: float = 600.0
    preparation_timeout_s: float = 3600.0


def parse_memory(text: str) -> int:
    """Reads a size such as ``4GB`` or ``500MiB`` in bytes.

    Raises:
        UserError: The text has another form, or is too little for any worker.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b)", text.strip().lower())
    if match is None:
        raise UserError(f"--worker-memory {text!r} is not a size: write 4GB or 500MiB")
    size = int(float(match.group(1)) * _UNITS[match.group(2)])
    if size < LEAST_MEMORY:
        raise UserError(f"--worker-memory {text} is too little for a worker: give at least 100MB")
    return size
