"""The torchvision shim: timm can be imported in a fresh process, however often and whoever asks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bitfront.evaluators import torchvision_shim

FRESH_PROCESS = """
from bitfront.evaluators.torchvision_shim import ensure_torchvision
ensure_torchvision()
ensure_torchvision()
import timm
import torchvision.transforms
print(timm.is_model("deit_tiny_patch16_224"))
"""


def test_timm_can_be_imported_in_a_fresh_process() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH_PROCESS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_a_whole_installation_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torchvision_shim, "_extension_loads", lambda: True)
    monkeypatch.setattr(torchvision_shim, "_registered", registered := [])
    torchvision_shim.ensure_torchvision.__wrapped__()
    assert registered == []
