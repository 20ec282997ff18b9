"""What a comparison was asked for, kept in its folder so that it can go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bitfront.evaluators.files import parsed_json, write_atomically
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.names import checked_name
from bitfront.search.samplers.registry import DEFAULT_EVALUATIONS, check_sampler
from bitfront.search.session.comparison.searches import PlannedSearch
from bitfront.spaces import BitfrontError, UserError

SETTINGS = "comparison.json"
_FORMAT = "bitfront/sampler-comparison"
_VERSION = 1
Settings = TypeVar("Settings")


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
        fields = {
            "spec": self.spec.to_json(),
            "samplers": list(self.samplers),
            "seeds": self.seeds,
            "truth": self.truth,
            "tested": self.tested,
        }
        write_settings(folder / SETTINGS, _FORMAT, fields)

    @classmethod
    def read(cls, folder: Path) -> ComparisonSettings:
        """Reads ``comparison.json``.

        Raises:
            UserError: It was written by another version.
            BitfrontError: It is damaged.
        """

        def parsed(document: Mapping[str, Any]) -> ComparisonSettings:
            return cls(
                RunSpec.from_json(document["spec"]),
                tuple(map(str, document["samplers"])),
                int(document["seeds"]),
                bool(document["truth"]),
                bool(document.get("tested", False)),
            )

        return read_settings(folder / SETTINGS, _FORMAT, parsed)


def write_settings(path: Path, form: str, fields: Mapping[str, Any]) -> None:
    """Writes what a comparison was asked for; ``form`` says of which kind it is."""
    document = {"format": form, "version": _VERSION, **fields}
    write_atomically(path, json.dumps(document, indent=2) + "\n")


def read_settings(path: Path, form: str, parsed: Callable[[Mapping[str, Any]], Settings]) -> Settings:
    """The inverse of :func:`write_settings`.

    Args:
        path: The file.
        form: The kind of comparison that is expected.
        parsed: Makes settings of the document.

    Raises:
        UserError: It is of another kind, or was written by another version.
        BitfrontError: It is damaged.
    """
    try:
        document = parsed_json(path.read_text(encoding="utf-8"))
        if (document["format"], document["version"]) != (form, _VERSION):
            raise UserError(f"{path} was written by another version of bitfront: start a new comparison")
        return parsed(document)
    except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
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


def open_comparison(
    store: RunStore, name: str, settings: str = SETTINGS, command: str = "compare-samplers"
) -> Path:
    """The folder of an earlier comparison.

    Args:
        store: The folder of the runs.
        name: Of the comparison.
        settings: The file that comparisons of the command have.
        command: What starts one.

    Raises:
        UserError: There is none of this name.
    """
    path = store.root / checked_name(name)
    if not (path / settings).is_file():
        raise UserError(
            f"there is no comparison {name!r} in {store.root}: start one with `bitfront {command}`"
        )
    return path
