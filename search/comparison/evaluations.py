"""Evaluations that several searches share: a file that gains a line with each, and survives kills."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.atomic import explained
from bitfront.search.pool import EvaluationFailure
from bitfront.spaces import BitfrontError

if TYPE_CHECKING:
    from bitfront.evaluators.accuracy import Accuracy

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
        self._known: dict[str, Accuracy | EvaluationFailure] = {}
        if path.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, digest: str) -> Accuracy | EvaluationFailure | None:
        """What a configuration came to, or None where it was not evaluated yet."""
        return self._known.get(digest)

    def add(self, digest: str, outcome: Accuracy | EvaluationFailure) -> None:
        """Records an evaluation; it is on the disk when this returns."""
        values = (
            {_ERROR: outcome.message}
            if isinstance(outcome, EvaluationFailure)
            else dataclasses.asdict(outcome)
        )
        with explained(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({_DIGEST: digest, **values}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[digest] = outcome

    def _read(self) -> None:
        with explained(self._path):
            whole = self._path.read_bytes()
            complete = whole[: whole.rfind(b"\n") + 1]
            if len(complete) < len(whole):
                with self._path.open("r+b") as file:
                    file.truncate(len(complete))
        for number, line in enumerate(complete.decode("utf-8", errors="replace").splitlines(), start=1):
            try:
                document = json.loads(line)
                digest = document.pop(_DIGEST)
                self._known[digest] = _outcome(document)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise BitfrontError(
                    f"{self._path} is damaged in line {number}: remove that line to evaluate it again"
                ) from error


def _outcome(document: dict[str, float | str]) -> Accuracy | EvaluationFailure:
    from bitfront.evaluators.accuracy import Accuracy

    if _ERROR in document:
        return EvaluationFailure(str(document[_ERROR]))
    return Accuracy(**document)  # type: ignore[arg-type]
