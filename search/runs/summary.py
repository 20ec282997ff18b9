"""What a run has come to in figures, ``summary.json``, checked where it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.search.runs.files import damaged_file, read_json
from bitfront.spaces.fields import check_fields

SUMMARY = "summary.json"


@dataclass(frozen=True)
class _Fields:
    """Types of the figures that are computed with; the file has more."""

    evaluations: int | None
    trials: int | None
    feasible: int | None
    front_points: int | None
    seconds: float | None
    hypervolume: float | None
    hypervolume_history: list[Any] | None
    reference_point: dict[str, Any] | None
    ideal_point: dict[str, Any] | None
    test_failures: dict[str, Any] | None


@dataclass(frozen=True)
class _Corner:
    value: float | None


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a run folder; empty while there is none.

    Raises:
        UserError: It is damaged.
    """
    path = folder / SUMMARY
    summary: dict[str, Any] = read_json(path, dict, absent={})
    try:
        check_fields(_Fields, summary)
        for entry in summary.get("hypervolume_history") or ():
            evaluations, share = entry
            check_fields(_Fields, {"evaluations": evaluations, "hypervolume": share})
        for corner in ("reference_point", "ideal_point"):
            for value in (summary.get(corner) or {}).values():
                check_fields(_Corner, {"value": value})
    except (TypeError, ValueError) as error:
        raise damaged_file(path, error) from error
    return summary
