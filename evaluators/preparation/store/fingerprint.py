"""Fingerprints: SHA-256 of nested values, of this package's code and of what a preparation depends on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront import spaces
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint

if TYPE_CHECKING:
    from hashlib import _Hash

# What a preparation is computed by: the rooms of evaluators and of spaces, whose grids and layers it takes.
_ROOMS = (Path(__file__).resolve().parents[2], Path(spaces.__file__).resolve().parent)


def fingerprint(value: object) -> str:
    """SHA-256 of a value in hexadecimal digits.

    Every part enters with its kind and length, so that no two different values are written alike. Tensors and
    arrays enter by dtype, shape and content, wherever they lie and however they are strided; lists and tuples
    are the same, and so are mappings in another order. Fields of dataclasses enter by name.

    Args:
        value: None, bool, int, float, str, a tensor or an array, and dataclasses, mappings (from strings or
            integers), lists and tuples of such.

    Raises:
        TypeError: A part is of another kind: it is refused rather than left out.
    """
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: _Hash, value: object) -> None:
    if value is None or isinstance(value, bool | int):
        _tag(digest, type(value).__name__, repr(value))
    elif isinstance(value, float):
        _tag(digest, "float", float(value).hex())
    elif isinstance(value, str):
        _tag(digest, "str", value)
    elif isinstance(value, torch.Tensor):
        _feed_tensor(digest, value)
    elif isinstance(value, np.ndarray | np.generic):
        _feed_array(digest, np.asarray(value))
    elif isinstance(value, Mapping):
        _feed_mapping(digest, "mapping", value)
    elif isinstance(value, list | tuple):
        _tag(digest, "sequence", str(len(value)))
        for item in value:
            _feed(digest, item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        _feed_mapping(digest, type(value).__name__, fields)
    else:
        raise TypeError(f"no fingerprint of a {type(value).__qualname__}: expected numbers, text or tensors")


def _feed_mapping(digest: _Hash, kind: str, mapping: Mapping[Any, object]) -> None:
    _tag(digest, kind, str(len(mapping)))
    for key in sorted(mapping, key=repr):
        if not isinstance(key, str | int):
            raise TypeError(f"no fingerprint of a mapping from {type(key).__qualname__}: expected str or int")
        _feed(digest, key)
        _feed(digest, mapping[key])


def _feed_tensor(digest: _Hash, tensor: torch.Tensor) -> None:
    _tag(digest, str(tensor.dtype).removeprefix("torch."), repr(tuple(tensor.shape)))
    # numpy lacks some of torch's dtypes: bytes are bytes, and are not copied where they lie in one piece
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(plain.numpy().data)


def _feed_array(digest: _Hash, array: NDArray[Any]) -> None:
    if array.dtype.kind not in "biufc":
        raise TypeError(f"no fingerprint of an array of {array.dtype}: expected numbers")
    _tag(digest, array.dtype.name, repr(array.shape))
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    digest.update(plain.reshape(-1).view(np.uint8).data)


def _tag(digest: _Hash, kind: str, text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    digest.update(f"{kind}:{len(content)}:".encode())
    digest.update(content)


@functools.cache
def sources_digest(*folders: Path) -> str:
    """SHA-256 of the Python files of folders, by name and content, in hexadecimal digits.

    Args:
        folders: With all folders in them; everything that a preparation is computed by where there are none.
    """
    digest = hashlib.sha256()
    for folder in folders or _ROOMS:
        for path in sorted(folder.rglob("*.py")):
            content = path.read_bytes()
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            digest.update(f"{name}:{len(content)}:".encode())
            digest.update(content)
    return digest.hexdigest()


def preparation_key(blueprint: Blueprint, images: PreprocessedImages, settings: Mapping[str, Any]) -> str:
    """The key under which what was prepared from these inputs is kept: 64 hexadecimal digits.

    It depends on content alone, neither on paths and dates nor on the process: a checkpoint that was moved
    keeps its preparations, one that was trained further does not. Labels do not count, as nothing is prepared
    from them; the order of the images does.

    Args:
        blueprint: The float model: every tensor and every scalar of it counts.
        images: The calibration images: their pixels, mean and standard deviation count.
        settings: Everything else that the result depends on, as JSON values (tuples are lists): scheme,
            recipe, widths, versions.

    Raises:
        TypeError: A setting is not a JSON value, or the blueprint holds something that has no fingerprint.
        ValueError: A setting is NaN or infinite.
    """
    return fingerprint(
        {
            "blueprint": blueprint,
            "pixels": images.pixels,
            "mean": images.mean,
            "std": images.std,
            "settings": json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False),
        }
    )
