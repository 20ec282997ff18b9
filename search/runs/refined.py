"""Refined points of a run: what refining brought, and the files in its folder ``refined``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.files import explained, finite, write_atomically
from bitfront.evaluators.tasks.paired import Paired
from bitfront.evaluators.tasks.quality import Quality
from bitfront.search.runs.files import REFINED, read_json
from bitfront.spaces import UserError

FORMAT, VERSION = "bitfront/refined-point", 1
SEARCH, TEST = "search", "test"


def _with_nan(value: Any) -> Any:
    """The inverse: null is not a number."""
    if isinstance(value, Mapping):
        return {name: _with_nan(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_with_nan(entry) for entry in value]
    return math.nan if value is None else value


@dataclass(frozen=True)
class Compared:
    """A configuration as it was and as it was refined, on the same images.

    Attributes:
        before: What it was worth.
        after: What it is worth refined.
        differences: By metric, by how much the refined one is above, with the paired standard error.
        errors: By metric, the paired standard error of the refined one's difference to the float model.
    """

    before: Quality
    after: Quality
    differences: Mapping[str, Paired]
    errors: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        found = {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "differences": {name: list(pair) for name, pair in self.differences.items()},
            "errors": dict(self.errors),
        }
        return {name: finite(part) for name, part in found.items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Compared:
        """The inverse of :meth:`to_json`; KeyError, TypeError or ValueError where it is none."""
        known = _with_nan({name: document[name] for name in ("before", "after", "differences", "errors")})
        pairs = {str(name): Paired(*map(float, pair)) for name, pair in known["differences"].items()}
        errors = {str(name): float(error) for name, error in known["errors"].items()}
        return cls(Quality.from_json(known["before"]), Quality.from_json(known["after"]), pairs, errors)


@dataclass(frozen=True)
class RefinedPoint:
    """A refined configuration.

    Attributes:
        trial: Number of the trial that it was; None where it is of no run.
        digest: Of the configuration.
        file: Name of the file that holds what was learned, beside the record.
        content: Digest of the model in it, the same wherever the same was learned.
        images: What it was learned from, in words.
        splits: By split, ``search`` and ``test``, what refining brought there.
        learning: The settings, as :class:`~bitfront.evaluators.training.refinement.recipe.RefinementSpec`
            has them.
        figures: What the learning says of itself: how near to the float model on images that judged it, how
            many there were, seconds.
        bitfront: Version that refined it.
    """

    trial: int | None
    digest: str
    file: str
    content: str
    images: str
    splits: Mapping[str, Compared]
    learning: Mapping[str, Any]
    figures: Mapping[str, Any]
    bitfront: str

    @property
    def search(self) -> Compared:
        """On the search split."""
        return self.splits[SEARCH]

    @property
    def test(self) -> Compared:
        """On the test split."""
        return self.splits[TEST]

    def to_json(self) -> dict[str, Any]:
        """The record as JSON has it."""
        return {
            "format": FORMAT,
            "version": VERSION,
            **vars(self),
            "splits": {name: compared.to_json() for name, compared in self.splits.items()},
            "figures": finite(self.figures),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RefinedPoint:
        """The inverse of :meth:`to_json`; KeyError, TypeError or ValueError where it is none."""
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise ValueError(f"it is no {FORMAT} of version {VERSION}")
        texts = {name: str(document[name]) for name in ("digest", "file", "content", "images", "bitfront")}
        trial = document["trial"]
        return cls(
            trial=None if trial is None else int(trial),
            splits={name: Compared.from_json(document["splits"][name]) for name in (SEARCH, TEST)},
            learning=dict(document["learning"]),
            figures=dict(document["figures"]),
            **texts,
        )


def record_of(file: Path) -> Path:
    """Where the record of a refinement lies."""
    return file.with_suffix(".json")


def write_refined(file: Path, point: RefinedPoint) -> None:
    """Writes the record of a refinement beside its file."""
    write_atomically(record_of(file), json.dumps(point.to_json(), indent=2, allow_nan=False) + "\n")


def read_refined(path: Path) -> RefinedPoint:
    """Reads a record.

    Raises:
        UserError: It is missing, damaged or of another version.
    """
    document = read_json(path, dict)
    try:
        return RefinedPoint.from_json(document)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}): remove it, and refine the point again"
        ) from error


def file_of(run_folder: Path, digest: str) -> Path:
    """Where the refinement of a configuration of a run is kept."""
    return run_folder / REFINED / f"{digest}.safetensors"


def unfinished_of(run_folder: Path, digest: str) -> Path:
    """Where the state of a refinement is kept that is not finished."""
    return run_folder / REFINED / f"{digest}.unfinished"


def unfinished_in(run_folder: Path) -> list[str]:
    """Digests of the configurations of a run whose refinement is unfinished."""
    return sorted(path.stem for path in (run_folder / REFINED).glob("*.unfinished"))


def refined_points(run_folder: Path) -> tuple[RefinedPoint, ...]:
    """All refined points of a run, by trial.

    Raises:
        UserError: A record is damaged; it is named.
    """
    folder = run_folder / REFINED
    with explained(folder):
        records = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return tuple(sorted(map(read_refined, records), key=lambda point: (point.trial is None, point.trial)))
