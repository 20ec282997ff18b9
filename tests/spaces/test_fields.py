"""Types of fields in documents: what JSON can give for an annotation, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from bitfront.spaces.fields import check_fields


@dataclass(frozen=True)
class Asked:
    name: str = ""
    kind: Literal["near", "far"] = "near"
    count: int | None = None
    share: float = 0.5
    several: tuple[str, ...] = ()
    either: float | str | tuple[str, ...] | None = None
    whether: bool = False


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"name": "x", "kind": "far", "count": 3, "share": 1, "several": ["a"], "either": None},
        {"either": 0.5, "several": (), "whether": True, "elsewhere": object()},
        {"either": ["a", "b"], "count": None},
    ],
)
def test_what_is_annotated_passes(found: dict[str, Any]) -> None:
    check_fields(Asked, found)


@pytest.mark.parametrize(
    "found",
    [
        {"name": 3},
        {"name": None},
        {"kind": "elsewhere"},
        {"kind": ["near"]},
        {"count": True},
        {"count": 1.0},
        {"count": 10**400},
        {"share": "0.5"},
        {"share": float("nan")},
        {"share": float("inf")},
        {"share": True},
        {"several": "abc"},
        {"several": [1]},
        {"several": {"a": 1}},
        {"either": [1.0]},
        {"whether": 1},
    ],
)
def test_anything_else_is_named(found: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"^{next(iter(found))} is "):
        check_fields(Asked, found)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(TypeError) as caught:
        check_fields(Asked, {"count": "x" * 100_000})
    assert len(str(caught.value)) < 100
