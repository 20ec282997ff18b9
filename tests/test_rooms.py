"""The house: rooms and folders import what stands left of them alone, and the code keeps to its manners."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each room, with its folders and loose modules in the order in which they may import one another.
ROOMS = {
    "spaces": (),
    "evaluators": (
        *(
            "progress",
            "files",
            "torchvision_shim",
            "data",
            "models",
            "quantizers",
            "preparation",
            "quantized",
        ),
        *("packed", "tasks", "context", "training", "sensitivity", "deployment", "latency", "generation"),
    ),
    "search": (
        *(
            "problem",
            "estimation",
            "engine",
            "samplers",
            "workers",
            "runs",
            "export",
            "reports",
            "session",
            "cli",
        ),
    ),
}
MOST_LOOSE_MODULES = 3
# Tests of the whole, shared cases and measurements have no folder in the product.
TESTS_OF_THEIR_OWN = {"benchmarks", "contracts", "layouts", "references", "stress"}
BANNED = re.compile(
    r"\banew\b|\blikewise\b|\b(have|has) (them|it) not\b|machine's mood|\b(passport|roster|parcel)s?\b",
    re.IGNORECASE,
)


@cache
def modules() -> dict[str, Path]:
    """Every module of the product, such as ``search.engine.engine``; a package is its ``__init__``."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """The modules of the product that a file imports, wherever in the file, also for type checkers alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("bitfront."):
                inner = name.removeprefix("bitfront.")
                yield inner if inner in modules() else inner.rpartition(".")[0]


@cache
def imports() -> dict[str, frozenset[str]]:
    """For every module, the others that it imports."""
    return {name: frozenset(set(imported(path)) - {name}) for name, path in modules().items()}


def folder_of(module: str) -> str:
    return modules()[module].parent.relative_to(ROOT).as_posix()


def circle(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """A circle of a graph; empty where there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_all_that_is_imported_is_there() -> None:
    assert not {(name, other) for name, found in imports().items() for other in found - modules().keys()}


def test_rooms_and_their_folders_import_what_stands_left_of_them() -> None:
    rooms = list(ROOMS)
    wrong = []
    for name, found in imports().items():
        room, _, inner = name.partition(".")
        for other in found:
            other_room, _, other_inner = other.partition(".")
            if room != other_room:
                right = rooms.index(other_room) > rooms.index(room)
            else:
                order, (part, other_part) = ROOMS[room], (x.partition(".")[0] for x in (inner, other_inner))
                # The room's own module offers what is in its folders, and none of them imports it.
                right = bool(order and part) and (
                    not other_part or order.index(other_part) > order.index(part)
                )
            if right:
                wrong.append((name, other))
    assert not wrong


@pytest.mark.parametrize("room", [room for room, order in ROOMS.items() if order])
def test_every_folder_has_its_place(room: str) -> None:
    inside = {name.split(".")[1] for name in modules() if name.startswith(f"{room}.")}
    assert inside == set(ROOMS[room])
    loose = [path for path in (ROOT / room).glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= MOST_LOOSE_MODULES


def test_no_circles_of_files() -> None:
    assert circle(imports()) == []


def test_no_circles_of_folders() -> None:
    """Nested folders count as folders of their own."""
    edges: dict[str, set[str]] = defaultdict(set)
    for name, found in imports().items():
        if name in ROOMS:  # the room's own module offers what is in its folders
            continue
        edges[folder_of(name)] |= {folder_of(other) for other in found} - {folder_of(name)}
    assert circle(edges) == []


def test_folders_of_tests_are_those_of_the_product() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*.py")}
    lost = [folder for folder in folders if not (ROOT / folder).is_dir()]
    assert {str(folder) for folder in lost} == TESTS_OF_THEIR_OWN


def test_arguments_of_the_command_line_end_there() -> None:
    """No function elsewhere takes an ``argparse.Namespace``."""
    for name, path in modules().items():
        if not name.startswith("search.cli"):
            # Names of what a pickle may hold are in quotation marks.
            assert re.search(r'(?<!")\bargparse\.Namespace', path.read_text(encoding="utf-8")) is None, name


def test_product_and_pages_are_in_the_english_of_today() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]
    for path in [*modules().values(), *pages]:
        found = BANNED.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path}: {found}"
