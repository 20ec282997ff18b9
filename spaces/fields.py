"""Types of what a file gives for the fields of a value, compared with the annotations of its class."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

# Whole numbers beyond that are none that anything was set to, and no float holds them.
_LARGEST = 2**63


def check_fields(cls: type, found: Mapping[str, Any]) -> None:
    """Compares values with the annotations of a class; lists count as tuples, whole numbers as floats.

    Args:
        cls: A dataclass.
        found: Values by the names of its fields; those that it does not name are not looked at.

    Raises:
        TypeError: A value is of another type, or a number that is not finite; it is named.
    """
    hints = get_type_hints(cls)
    for name, value in found.items():
        if name in hints and not _is_of(value, hints[name]):
            raise TypeError(f"{name} is {repr(value)[:40]}")


def _is_of(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_is_of(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, tuple | list) and all(_is_of(entry, arguments[0]) for entry in value)
    if hint is float:
        return _is_of(value, int) or (isinstance(value, float) and math.isfinite(value))
    if hint is int:
        return type(value) is int and abs(value) < _LARGEST
    return isinstance(value, origin or hint)
