"""What a comparison was asked for, kept in its folder so that it can go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitfront.evaluators.files import write_atomically
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.names import checked_name
from bitfront.search.samplers.registry import DEFAULT_EVALUATIONS, check_sampler
from bitfront.search.session.comparison.searches import PlannedSearch
from bitfront.spaces import BitfrontError, UserError

SETTINGS = "comparison.json"
_FORMAT, _VERSION = "bitfront/sampler-comparison", 1


@dataclass(frozen=True)
class ComparisonSettings:
    """What is compared.

    Attributes:
        spec: Model, space, objectives and limits, the evaluations of each search and the first seed.
        samplers: Names of the samplers.
        seeds: How many seeds each sampler gets.
        truth: Whether all configurations are evaluated first.
        tested: Whether fronts are judged by the test images as well.
    """

    spec: RunSpec
    samplers: tuple[str, ...]
    seeds: int
    truth: bool
    tested: bool = False

    def entries(self) -> Iterator[PlannedSearch]:
        """All searches, seed by seed, so that a comparison cut short has each sampler about as often."""
        for place in range(self.seeds):
            for sampler in self.samplers:
                evaluations = self.spec.evaluations or DEFAULT_EVALUATIONS
                yield PlannedSearch(sampler, self.spec.seed + place, evaluations)

    def write(self, folder: Path) -> None:
        """Writes ``comparison.json``."""
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "spec": self.spec.to_json(),
            "samplers": list(self.samplers),
            "seeds": self.seeds,
            "truth": self.truth,
            "tested": self.tested,
        }
        write_atomically(folder / SETTINGS, json.dumps(document, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> ComparisonSettings:
        """Reads ``comparison.json``.

        Raises:
            UserError: It was written by another version.
            BitfrontError: It is damaged.
        """
        path = folder / SETTINGS
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if (document["format"], document["version"]) != (_FORMAT, _VERSION):
                raise UserError(f"{path} was written by another version of bitfront: start a new comparison")
            return cls(
                RunSpec.from_json(document["spec"]),
                tuple(map(str, document["samplers"])),
                int(document["seeds"]),
                bool(document["truth"]),
                bool(document.get("tested", False)),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BitfrontError(f"{path} cannot be read ({error}): start a new comparison") from error


def parse_samplers(samplers: str | Sequence[str]) -> tuple[str, ...]:
    """Reads a list of samplers, or a text such as ``nsga2,random``.

    Raises:
        UserError: A name is unknown, or there is none.
    """
    listed = samplers.split(",") if isinstance(samplers, str) else samplers
    names = tuple(dict.fromkeys(name.strip() for name in listed))
    for name in names:
        check_sampler(name)
    return names


def open_comparison(store: RunStore, name: str) -> Path:
    """The folder of an earlier comparison.

    Raises:
        UserError: There is none of this name.
    """
    path = store.root / checked_name(name)
    if not (path / SETTINGS).is_file():
        raise UserError(
            f"there is no comparison {name!r} in {store.root}: start one with `bitfront compare-samplers`"
        )
    return path
