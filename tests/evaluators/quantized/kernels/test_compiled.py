"""Kernels on disk: one is compiled again when another module changes, whose code it contains."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from bitfront.evaluators.quantized.kernels import compiled as compiled_module

PART = """
from bitfront.evaluators.quantized.kernels.compiled import compiled

@compiled
def value():
    return {value}
"""
WHOLE = """
from bitfront.evaluators.quantized.kernels.compiled import compiled
from part_of_a_kernel import value

@compiled
def twice():
    return 2 * value()
"""
NAMES = ("part_of_a_kernel", "whole_kernel")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compiled_module, "__file__", str(tmp_path / "compiled.py"))
    return tmp_path


def twice(folder: Path, value: int) -> int:
    """What a process gets that imports the two modules, of which the first returns a value."""
    (folder / "part_of_a_kernel.py").write_text(PART.format(value=value))
    (folder / "whole_kernel.py").write_text(WHOLE)
    compiled_module.sources_digest.cache_clear()
    importlib.invalidate_caches()
    try:
        return int(importlib.import_module("whole_kernel").twice())
    finally:
        for name in NAMES:
            del sys.modules[name]


def test_a_kernel_whose_parts_change_is_compiled_anew(folder: Path) -> None:
    assert [twice(folder, value) for value in (1, 20, 1)] == [2, 40, 2]


def test_a_kernel_whose_parts_stay_is_compiled_once(folder: Path) -> None:
    twice(folder, 1)
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}
    assert len(kept) == 2
    twice(folder, 1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")} == kept
