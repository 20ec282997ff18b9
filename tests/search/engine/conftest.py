"""Gives tests the synthetic search, which is a module and a program (``synthetic.py``)."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bitfront.search.runs.folder import RunFolder, RunStore

PROGRAM = Path(__file__).with_name("synthetic.py")


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The module, loaded from its file: tests are not a package."""
    spec = importlib.util.spec_from_file_location("bitfront_synthetic_search", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are written all the same; other processes, which tests kill, do wait."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunStore(tmp_path / "runs").create("test")
