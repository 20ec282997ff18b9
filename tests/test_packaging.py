"""Packaging: every package is listed, and what is shipped is what the licence and the rooms say."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("spaces", "evaluators", "search")


def settings() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed() -> None:
    folders = {
        "bitfront." + ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert set(settings()["tool"]["setuptools"]["packages"]) == folders


def test_every_module_lies_in_a_package() -> None:
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path


def test_rooms_are_typed_and_seen_by_the_type_checker() -> None:
    for room in ROOMS:
        assert (ROOT / room / "py.typed").exists()
        link = ROOT / ".namespace" / "bitfront" / room
        assert link.is_symlink()
        assert link.resolve() == ROOT / room


def test_constraints_pin_every_dependency() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = settings()["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    missing = {requirement.partition(">=")[0] for requirement in wanted} - pinned
    assert not missing
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()
    assert "torchvision==0.28.0" in (ROOT / "constraints.txt").read_text()
