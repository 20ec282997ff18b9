"""The environment of a worker: what must be the same there for its results to be comparable."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.registry import path_of, with_absolute_path
from bitfront.evaluators.files import split_entry

# What decides the pixels and the logits, and what coordinator and worker speak with each other.
PACKAGES = ("bitfront", "torch", "numpy", "timm", "pillow", "distributed")


@dataclass(frozen=True)
class WorkerEnvironment:
    """What a process runs, and what it lacks.

    Attributes:
        host: Name of its machine.
        versions: Of Python and of packages, by name; None where one is not installed.
        sources: Digest of the evaluating code.
        missing: Paths that it was asked for and that are not there.
    """

    host: str
    versions: dict[str, str | None]
    sources: str
    missing: tuple[str, ...]


def describe_environment(paths: Sequence[str]) -> WorkerEnvironment:
    """The environment of the process that calls this.

    Args:
        paths: Files and folders that must be there.
    """
    from bitfront.evaluators.preparation.store.fingerprint import sources_digest

    versions: dict[str, str | None] = {"python": ".".join(platform.python_version_tuple()[:2])}
    versions |= {name: _version(name) for name in PACKAGES}
    missing = tuple(path for path in paths if not os.path.exists(path))
    return WorkerEnvironment(platform.node(), versions, sources_digest(), missing)


def objection(address: str, theirs: WorkerEnvironment, mine: WorkerEnvironment) -> str | None:
    """Why a worker cannot take part, in one line; None where it can."""
    where = f"worker {address} on {theirs.host}"
    for name, expected in mine.versions.items():
        found = theirs.versions.get(name)
        if found != expected:
            return (
                f"{where} has {name} {found or 'not installed'}, this machine {expected}: results would not "
                "be comparable; install the same versions on every machine"
            )
    if theirs.sources != mine.sources:
        return (
            f"{where} has other sources of bitfront {mine.versions['bitfront']} than this machine: results "
            "would not be comparable; install the same sources on every machine"
        )
    if theirs.missing:
        return (
            f"{where} has no {theirs.missing[0]}: put it at the same path on every machine, or pass "
            "--send-data"
        )
    return None


def _version(package: str) -> str | None:
    """The installed version without its build: the same release for CPU or GPU has the same kernels."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def with_absolute_paths(spec: EvaluationSpec) -> EvaluationSpec:
    """The spec with the paths that it names made absolute."""

    def absolute(name: str, place: str) -> str:
        return os.path.abspath(place) if name == "checkpoint" else with_absolute_path(place)

    return spec.placed(absolute)


def paths_of(spec: EvaluationSpec) -> tuple[str, ...]:
    """The files and folders that a spec names."""
    places = (
        split_entry(place)[0] if name == "checkpoint" else path_of(place)
        for name, place in spec.places.items()
    )
    return tuple(path for path in places if path is not None)
