"""Packaging: every package is listed, and what is shipped is what the licence and the rooms say."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# CUDA builds of torch bring it; without it, torch operations take its place.
OPTIONAL = {"triton"}
ROOMS = ("spaces", "evaluators", "search")
# Packages that are imported under another name than they are installed under.
INSTALLED_AS = {
    "PIL": "pillow",
    "google": "protobuf",
    "ml_dtypes": "ml-dtypes",
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
}


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


def imported() -> dict[str, Path]:
    """Top-level packages of others that the product imports anywhere, each with a file that does."""
    found: dict[str, Path] = {}
    for path in (file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name.partition(".")[0]: path for name in names}
    return {name: found[name] for name in found.keys() - sys.stdlib_module_names - {"bitfront"}}


def test_every_imported_package_is_declared() -> None:
    project = settings()["project"]
    extras = project["optional-dependencies"]
    declared = {
        requirement.partition(">=")[0].lower()
        for requirement in project["dependencies"]
        + extras["runtimes"]
        + extras["parquet"]
        + extras["report"]
        + extras["generation"]
    }
    missing = {
        name: path for name, path in imported().items() if INSTALLED_AS.get(name, name) not in declared
    }
    assert missing.keys() <= OPTIONAL


def test_nothing_that_is_imported_ties_the_program_to_posix() -> None:
    modules = {"fcntl", "grp", "pwd", "pty", "termios", "tty"}
    names = {"fork", "getpgid", "killpg", "setsid", "geteuid", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM"}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            # Windows has no resource either: it may be imported where other ways of asking have failed.
            assert "resource" not in {a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names}
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    assert not modules & {alias.name for alias in node.names}, path
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    assert node.value.id not in ("os", "signal") or node.attr not in names, path


def test_what_the_report_is_made_of_is_shipped() -> None:
    shipped = settings()["tool"]["setuptools"]["package-data"]["bitfront.search.reports.interactive"]
    folder = ROOT / "search" / "reports" / "interactive"
    files = {path for path in folder.iterdir() if path.is_file() and path.suffix != ".py"}
    assert files == {path for pattern in shipped for path in folder.glob(pattern)}


def test_published_figures_are_shipped() -> None:
    shipped = settings()["tool"]["setuptools"]["package-data"]["bitfront.search.reports"]
    folder = ROOT / "search" / "reports"
    assert folder / "published.toml" in {path for pattern in shipped for path in folder.glob(pattern)}
