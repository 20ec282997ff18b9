"""Kernels on disk: whatever has become of their files, the kernel computes and the file is mended."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bitfront.evaluators.quantized.kernels import cache
from bitfront.evaluators.quantized.kernels import compiled as compiled_module

KERNEL = """
from bitfront.evaluators.quantized.kernels.compiled import compiled

@compiled
def twice(value):
    return 2 * value
"""
NAME = "kernel_of_a_test"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the kernel's source and its compiled form for integers."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compiled_module, "__file__", str(tmp_path / "compiled.py"))
    (tmp_path / f"{NAME}.py").write_text(KERNEL)
    compiled_module.sources_digest.cache_clear()
    importlib.invalidate_caches()
    assert called(21) == 42
    monkeypatch.setattr(cache, "_told", False)
    return tmp_path


def called(value: float) -> float:
    """What a process gets that imports the kernel."""
    try:
        return float(importlib.import_module(NAME).twice(value))
    finally:
        del sys.modules[NAME]


def kept(folder: Path) -> Path:
    (path,) = folder.rglob("*.nbc")
    return path


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "without its last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "garbage": lambda path: path.write_bytes(b"\x80\x04garbage" * 100),
    "one other bit": lambda path: path.write_bytes(
        path.read_bytes()[:3000] + bytes([path.read_bytes()[3000] ^ 1]) + path.read_bytes()[3001:]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_written_again_and_told_once(
    folder: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    whole = kept(folder).stat().st_size
    damage(kept(folder))
    assert called(21) == 42
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "was damaged, and is written again: kernels are compiled in memory" in caplog.text
    assert abs(kept(folder).stat().st_size - whole) < 200
    caplog.clear()
    written = kept(folder).stat().st_mtime_ns
    assert called(21) == 42
    assert kept(folder).stat().st_mtime_ns == written
    assert not caplog.records


def test_a_folder_in_place_of_a_file_is_told_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    replaced_by_folder(kept(folder))
    assert called(21) == 42
    assert called(21) == 42
    assert len(caplog.records) == 1
    assert "cannot be read (is a directory)" in caplog.text
    assert not list(folder.rglob("*.part"))


def test_a_file_without_permission_is_told_once(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.suffix == ".nbc":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert called(21) == 42
    assert len(caplog.records) == 1
    assert "cannot be read (permission denied)" in caplog.text


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_costs_the_file_alone(
    folder: Path, code: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.write_bytes

    def fails(path: Path, content: bytes) -> int:
        whole(path, content[:100])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", fails)
    kept(folder).unlink()
    assert called(21) == 42
    assert called(0.5) == 1
    assert len(caplog.records) == 1
    assert f"cannot be kept in {folder / '__pycache__'} ({os.strerror(code).lower()})" in caplog.text
    assert not list(folder.rglob("*.nbc")) + list(folder.rglob("*.part"))


def test_no_folder_to_keep_kernels_in_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(function: object) -> None:
        raise RuntimeError("no locator available")

    monkeypatch.setattr(compiled_module, "KernelCache", nowhere)
    assert called(21) == 42


def test_a_form_that_cannot_be_loaded_is_compiled_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache.pickle, "loads", lambda content: ("no", "code"))
    assert called(21) == 42
    assert "cannot be loaded" in caplog.text


def test_workers_leave_the_warning_to_their_coordinator(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cache.multiprocessing, "parent_process", lambda: object())
    kept(folder).write_bytes(b"")
    assert called(21) == 42
    assert not caplog.records


def test_processes_that_compile_at_once_keep_what_each_compiled(folder: Path) -> None:
    shutil.rmtree(folder / "__pycache__")
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); import {NAME}; print({NAME}.twice(%s))"
    running = [
        subprocess.Popen([sys.executable, "-c", program % value], stdout=subprocess.PIPE, text=True)
        for value in ("21", "0.5", "1j")
    ]
    assert [process.communicate()[0].strip() for process in running] == ["42", "1.0", "2j"]
    assert len(list(folder.rglob("*.nbc"))) == 3


def test_a_kernel_that_is_compiled_once_more_has_no_files_left(folder: Path) -> None:
    module = importlib.import_module(NAME)
    module.twice(21)
    written = kept(folder).stat().st_mtime_ns
    module.twice.recompile()
    assert kept(folder).stat().st_mtime_ns != written
    sys.modules.pop(NAME)
