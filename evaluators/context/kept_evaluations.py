"""Evaluations in the user's cache: an append-only file for each evaluation key, shared by runs."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitfront.evaluators.files import CACHE_OFF, cache_folder, parsed_json
from bitfront.evaluators.preparation.store.store import EVALUATIONS_SUFFIX, PreparationStore, keep_within
from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.quality import EXPECTED_DIFFERENCE, Quality, unpacked

logger = logging.getLogger(__name__)

# Where it is "off", runs neither take evaluations from the cache nor keep them there.
EVALUATIONS_VARIABLE = "BITFRONT_EVALUATIONS"
FORMAT, VERSION = "bitfront/evaluations", 1
_LOCK = "evaluations.lock"
_PATIENCE_S = 10.0
_DIGEST = re.compile(r"[0-9a-f]{12}")
_COUNTS = ("images", "lost", "won")
_LINE = re.compile(rb"([0-9a-f]{8}) (\{.*\})")


def are_shared(environment: Mapping[str, str]) -> bool:
    """Whether runs share evaluations, as ``BITFRONT_EVALUATIONS`` and ``BITFRONT_CACHE`` say."""
    switched_off = environment.get(EVALUATIONS_VARIABLE, "").strip().lower() == CACHE_OFF
    return not switched_off and cache_folder(environment) is not None


@dataclass
class KeptEvaluations:
    """What configurations came to under one evaluation key; a cache: nothing wrong with it ends a run.

    Several processes may read and add at the same time: one line is added at a time, under a lock, with a
    checksum (CRC-32). Lines that are damaged, or are no evaluation of these images and metrics, are left out.

    Attributes:
        path: The file; None keeps nothing.
        key: See :func:`bitfront.evaluators.context.identity.evaluation_key`.
        images: Of the split.
        metrics: That an evaluation has.
        damaged: Lines that were left out.
    """

    path: Path | None
    key: str
    images: int
    metrics: Sequence[Metric]
    limit_bytes: int = 0
    damaged: int = 0
    # By digest and number of images.
    _known: dict[str, dict[int, Quality]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, key: str, images: int, metrics: Sequence[Metric]) -> KeptEvaluations:
        """Those of the user's cache.

        Raises:
            UserError: ``BITFRONT_CACHE_LIMIT`` is not a size.
        """
        store = PreparationStore.default()
        path = None if store.folder is None else store.folder / f"{key}{EVALUATIONS_SUFFIX}"
        found = cls(path, key, images, metrics, store.limit_bytes)
        found._read()
        return found

    def __len__(self) -> int:
        """Configurations that something is known of."""
        return len(self._known)

    def get(self, digest: str, images: int) -> Quality | None:
        """What a configuration came to on the first ``images`` images; None where that is not known."""
        return self._known.get(digest, {}).get(images)

    def longest(self, digest: str) -> Quality | None:
        """What a configuration came to on the most images that are known of it."""
        known = self._known.get(digest)
        return None if known is None else known[max(known)]

    def add(self, digest: str, quality: Quality) -> None:
        """Keeps an evaluation; one warning says where that cannot be done."""
        self._known.setdefault(digest, {}).setdefault(quality.images, quality)
        if self.path is None:
            return
        try:
            self._append(_line({"digest": digest, "quality": quality.to_json()}))
        except OSError as error:
            logger.warning("evaluations are not kept: cannot write to %s: %s", self.path, error)
            self.path = None

    def _append(self, line: bytes) -> None:
        from filelock import FileLock, Timeout

        assert self.path is not None, "asked for by the caller"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path.with_name(_LOCK), timeout=_PATIENCE_S), self.path.open("ab") as file:
                size = file.tell()
                if size == 0:  # new, or removed meanwhile to make room
                    line = _line(_header(self.key)) + line
                elif not _ends_a_line(self.path):
                    line = b"\n" + line  # behind what a kill or a full disk cut short
                file.write(line)
                if size == 0:
                    file.flush()
                    keep_within(self.path.parent, self.limit_bytes, self.path.name)
        except Timeout as error:
            raise OSError(f"another process has held {_LOCK} for {_PATIENCE_S:g} s") from error

    def _read(self) -> None:
        """Takes in what the file has."""
        if self.path is None:
            return
        try:
            if self.path.stat().st_size > self.limit_bytes:
                return
            content = self.path.read_bytes()
            os.utime(self.path)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                logger.info("cannot read the kept evaluations %s: %s", self.path, error)
            return
        lines = content.split(b"\n")
        if _document(lines[0]) != _header(self.key):
            logger.warning("%s is no file of kept evaluations, and is left alone", self.path)
            self.path = None
            return
        for line in filter(None, lines[1:]):
            found = self._evaluation(line)
            if found is None:
                self.damaged += 1
            else:
                self._known.setdefault(found[0], {})[found[1].images] = found[1]

    def _evaluation(self, line: bytes) -> tuple[str, Quality] | None:
        """Digest and quality of a line; None where it has none of these images and metrics."""
        document = _document(line)
        if document == _header(self.key):  # of two processes that began the file at once
            return None
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            if document is not None and document.keys() == {"digest", "quality"}:
                digest, quality = document["digest"], document["quality"]
                if _DIGEST.fullmatch(digest) and self._sound(quality):
                    return digest, Quality.from_json(quality)
        return None

    def _sound(self, document: dict[str, Any]) -> bool:
        """Whether a document has the figures of an evaluation, within their bounds."""
        names = {metric.name for metric in self.metrics}
        needed = {*_COUNTS, *names, "seconds"}
        if not needed <= document.keys() <= needed | {"right", EXPECTED_DIFFERENCE}:
            return False
        counts = [document[name] for name in _COUNTS]
        if not all(type(count) is int for count in counts):
            return False
        images, lost, won = counts
        if not (1 <= images <= self.images and min(lost, won) >= 0 and lost + won <= images):
            return False
        figures = [value for name, value in document.items() if name not in (*_COUNTS, "right")]
        if not all(type(figure) in (int, float) and not math.isinf(figure) for figure in figures):
            return False
        shares = (document[metric.name] for metric in self.metrics if metric.unit == "%")
        if not all(math.isnan(share) or -1e-9 <= share <= 100.0 + 1e-9 for share in shares):
            return False
        if "right" in document:
            unpacked(document["right"], images)  # ValueError where it is none
        return True


def _header(key: str) -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION, "key": key}


def _line(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, sort_keys=True).encode()
    return f"{zlib.crc32(text):08x} ".encode() + text + b"\n"


def _document(line: bytes) -> dict[str, Any] | None:
    """The document of a line; None where it differs from its checksum."""
    match = _LINE.fullmatch(line)
    if match is None or int(match[1], 16) != zlib.crc32(match[2]):
        return None
    with contextlib.suppress(ValueError):
        found: dict[str, Any] = parsed_json(match[2])
        return found
    return None


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
