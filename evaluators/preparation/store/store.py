"""A store of prepared models on disk: one file for each key, the least recently used ones removed first."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from bitfront.evaluators.files import CACHE_OFF, CACHE_VARIABLE, UNFINISHED, cache_folder, replacing
from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.quantities import BYTES, read_quantity

logger = logging.getLogger(__name__)

LIMIT_VARIABLE = "BITFRONT_CACHE_LIMIT"
DEFAULT_LIMIT = 4 * 2**30
_KEY = r"[0-9a-f]{64}"
# Of the files that keep evaluations, and settings that were measured, which share the folder and its limit.
EVALUATIONS_SUFFIX, SETTING_SUFFIX = ".evaluations.jsonl", ".setting.json"
_SUFFIXES = "|".join(map(re.escape, (".safetensors", EVALUATIONS_SUFFIX, SETTING_SUFFIX)))
_ENTRY = re.compile(rf"{_KEY}({_SUFFIXES})")
_PART = re.compile(rf"\.[0-9a-f]+\.[0-9a-f]+{re.escape(UNFINISHED)}")
_ABANDONED_SECONDS = 3600.0  # no file takes so long to write: its writer was killed

FORMAT = "bitfront/preparation"
VERSION = 1


def cache_limit(environment: Mapping[str, str]) -> int:
    """The most bytes to keep: ``BITFRONT_CACHE_LIMIT``, such as ``2GB`` or ``500MiB``, else 4 GiB.

    Raises:
        UserError: The variable is not a size.
    """
    text = environment.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return DEFAULT_LIMIT
    limit = read_quantity(text, {"": 1.0, **BYTES})
    if limit is None:
        raise UserError(
            f"{LIMIT_VARIABLE} {text!r} is not a size: write 2GB or 500MiB, or set "
            f"{CACHE_VARIABLE}={CACHE_OFF} to keep nothing"
        )
    return int(limit)


@dataclass(frozen=True)
class PreparationStore:
    """Prepared models on disk by key; a cache, so that nothing that goes wrong with it ends a run.

    Any number of processes may load and save at the same time: a file appears only when it is complete.
    Files of other names in the folder are left alone.

    Attributes:
        folder: Where the files are, made when first needed; None keeps nothing.
        limit_bytes: The most bytes that are kept.
    """

    folder: Path | None
    limit_bytes: int = DEFAULT_LIMIT

    @classmethod
    def default(cls) -> PreparationStore:
        """The store of this user, as ``BITFRONT_CACHE`` and ``BITFRONT_CACHE_LIMIT`` say.

        Raises:
            UserError: ``BITFRONT_CACHE_LIMIT`` is not a size.
        """
        return cls(cache_folder(os.environ), cache_limit(os.environ))

    def load(self, key: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """What was saved under a key: tensors on the CPU and the document; None where nothing is.

        A file that is damaged, foreign or of another format version counts as absent and is removed.

        Args:
            key: 64 hexadecimal digits (:func:`~bitfront.evaluators.preparation.store.fingerprint`).

        Raises:
            ValueError: ``key`` is not a key.
        """
        name = _file_name(key)
        if self.folder is None:
            return None
        path = self.folder / name
        try:
            entry = _read_entry(path, key)
        except FileNotFoundError:
            return None
        except DamagedEntryError as error:
            logger.info("removed the kept preparation %s: %s", path, error)
            _remove(path)
            return None
        except OSError as error:
            logger.info("cannot read the kept preparation %s: %s", path, error)
            return None
        with contextlib.suppress(OSError):  # a folder that is only read forgets nothing either
            os.utime(path)
        return entry

    def save(self, key: str, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> None:
        """Keeps tensors and a document under a key, in place of what was there.

        What cannot be written (no permission, no space, more than the limit) is not kept, and one warning
        says so.

        Args:
            key: 64 hexadecimal digits.
            tensors: Tensors by name, on any device, strided as they like.
            document: JSON values by name; tuples come back as lists, integer keys as strings.

        Raises:
            ValueError: ``key`` is not a key.
            TypeError: The document is not made of JSON values.
        """
        name = _file_name(key)
        if self.folder is None:
            return
        content = entry_bytes(key, tensors, document)
        if len(content) > self.limit_bytes:
            logger.warning(
                "the prepared model is not kept: its %d bytes exceed the limit of %d; raise %s",
                len(content),
                self.limit_bytes,
                LIMIT_VARIABLE,
            )
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Not forced to the disk, which takes long: after a power cut, the digest tells.
            with replacing(self.folder / name, durable=False) as part:
                part.write_bytes(content)
            keep_within(self.folder, self.limit_bytes, name)
        except OSError as error:
            logger.warning("the prepared model is not kept: cannot write to %s: %s", self.folder, error)


def _file_name(key: str) -> str:
    if not re.fullmatch(_KEY, key):
        raise ValueError(f"{key!r} is not a key: expected 64 lower-case hexadecimal digits")
    return f"{key}.safetensors"


def keep_within(folder: Path, limit: int, newest: str) -> None:
    """Removes files of the cache, the least recently used first, until all together are within the limit.

    Args:
        folder: That of the cache; files of other names in it do not count.
        limit: Bytes.
        newest: Name of a file that stays in any case.
    """
    entries: list[tuple[int, str, int]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process may be removing files too
            status = path.stat()
            if _ENTRY.fullmatch(path.name):
                entries.append((status.st_mtime_ns, path.name, status.st_size))
            elif _PART.fullmatch(path.name) and time.time() - status.st_mtime > _ABANDONED_SECONDS:
                _remove(path)
    total = sum(size for _, _, size in entries)
    for _, name, size in sorted(entries):
        if total > limit and name != newest:
            logger.info("removed the least recently used file %s of the cache", name)
            _remove(folder / name)
            total -= size


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


class DamagedEntryError(BitfrontError):
    """A file is not the preparation that its name says, or not any more."""


def entry_bytes(key: str, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> bytes:
    """The content of the file that keeps ``tensors`` and ``document`` under ``key``.

    Raises:
        TypeError: The document is not made of JSON values.
    """
    text = json.dumps(document)
    stored = _storable(tensors)
    digest = fingerprint({"document": text, "tensors": stored})
    header = _identity(key) | {"document": text, "digest": digest}
    return save(stored, metadata=header)


def _read_entry(path: Path, key: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors, on the CPU and writable, and the document of a file; DamagedEntryError for any other."""
    # read at once: safe_open opens the file twice, and another process may replace it in between
    content = path.read_bytes()
    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch lacks
        raise DamagedEntryError(f"not a safetensors file of tensors: {error}") from error
    # The texts in the header of a valid safetensors file: 8 bytes of length, then JSON.
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    for name, expected in _identity(key).items():
        if header.get(name) != expected:
            raise DamagedEntryError(f"its {name} is {header.get(name)!r}, expected {expected!r}")
    text = header.get("document", "")
    if header.get("digest") != fingerprint({"document": text, "tensors": tensors}):
        raise DamagedEntryError("its content differs from its digest")
    return tensors, json.loads(text)


def _identity(key: str) -> dict[str, str]:
    return {"format": FORMAT, "version": str(VERSION), "key": key}


def _storable(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous tensors on the CPU; safetensors refuses those that share a storage."""
    stored: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        stored[name] = plain.clone() if place in storages else plain
        storages.add(place)
    return stored
