"""Evaluations that several searches share: a file that survives kills, and the pool in front of it."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.files import explained, parsed_json
from bitfront.search.engine.protocols import AccuracyPool, Completed
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.runs.files import cut_incomplete_line
from bitfront.spaces import BitConfig, BitfrontError

if TYPE_CHECKING:
    from bitfront.evaluators.tasks.quality import Quality

EVALUATIONS = "evaluations.jsonl"
_DIGEST, _ERROR = "digest", "error"


class SharedEvaluations:
    """What every configuration came to, by digest.

    Args:
        path: The file; a last line that a kill cut short is dropped.

    Raises:
        BitfrontError: The file is damaged elsewhere.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Quality | EvaluationFailure] = {}
        if path.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, digest: str) -> Quality | EvaluationFailure | None:
        """What a configuration came to, or None where it was not evaluated yet."""
        return self._known.get(digest)

    def qualities(self, digests: Iterable[str]) -> dict[str, Quality]:
        """By digest, what some configurations are worth; those that failed or are not known are left out."""
        found = ((digest, self._known.get(digest)) for digest in digests)
        return {
            digest: outcome
            for digest, outcome in found
            if outcome is not None and not isinstance(outcome, EvaluationFailure)
        }

    def add(self, digest: str, outcome: Quality | EvaluationFailure) -> None:
        """Records an evaluation; it is on the disk when this returns."""
        values = {_ERROR: outcome.message} if isinstance(outcome, EvaluationFailure) else outcome.to_json()
        with explained(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({_DIGEST: digest, **values}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[digest] = outcome

    def _read(self) -> None:
        from bitfront.evaluators.tasks.quality import Quality

        cut_incomplete_line(self._path)
        text = self._path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                document = parsed_json(line)
                digest, failed = document.pop(_DIGEST), _ERROR in document
                known = EvaluationFailure(str(document[_ERROR])) if failed else Quality.from_json(document)
                self._known[digest] = known
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise BitfrontError(
                    f"{self._path} is damaged in line {number}: remove that line to evaluate it again"
                ) from error


class SharingPool:
    """Evaluates what no search has evaluated yet, on all search images, and records it for the others.

    Every candidate is evaluated whole, whatever it must be able to reach: what one search may stop early,
    another one needs.

    Args:
        pool: Evaluates.
        evaluations: What is known.
    """

    def __init__(self, pool: AccuracyPool, evaluations: SharedEvaluations) -> None:
        self._pool = pool
        self._evaluations = evaluations
        self._ready: deque[Completed] = deque()
        self._digests: dict[int, str] = {}

    @property
    def capacity(self) -> int:
        """That of the pool that evaluates."""
        return self._pool.capacity

    def submit(self, key: int, config: BitConfig, required: float | None = None) -> None:  # noqa: ARG002
        """Takes a candidate; one that is known is ready at once."""
        known = self._evaluations.get(config.digest)
        if known is not None:
            self._ready.append((key, known))
            return
        self._digests[key] = config.digest
        self._pool.submit(key, config)

    def next_completed(self, timeout: float) -> Completed | None:
        """The next result: one that is known, else the pool's."""
        if self._ready:
            return self._ready.popleft()
        completed = self._pool.next_completed(timeout)
        if completed is None:
            return None
        key, outcome = completed
        self._evaluations.add(self._digests.pop(key), outcome)
        return completed

    def close(self) -> None:
        """Ends the pool that evaluates."""
        self._pool.close()
