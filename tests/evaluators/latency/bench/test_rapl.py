"""Counters of energy, in a made-up folder of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitfront.evaluators.latency.bench.rapl import EnergyCounters
from bitfront.spaces import BitfrontError

RANGE = 1_000_000


def zone(root: Path, folder: str, name: str, energy: int) -> Path:
    path = root / folder
    path.mkdir()
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "intel-rapl").mkdir()
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:0:0", "core", 70)
    zone(tmp_path, "intel-rapl:0:1", "dram", 30)
    zone(tmp_path, "intel-rapl:1", "psys", 500)
    return tmp_path


def test_packages_and_their_memory_are_counted_once(root: Path) -> None:
    counters = EnergyCounters.found(root)
    assert [path.name for path in counters.zones] == ["intel-rapl:0", "intel-rapl:0:1"]
    assert counters.read() == (100, 30)


def test_counters_turn_over(root: Path) -> None:
    counters = EnergyCounters.found(root)
    assert counters.joules((100, 30), (600, 40)) == pytest.approx(510e-6)
    assert counters.joules((RANGE - 10, 30), (90, 30)) == pytest.approx(100e-6)


def test_the_mean_of_calls(root: Path) -> None:
    counters = EnergyCounters.found(root)

    def run() -> None:
        path = root / "intel-rapl:0" / "energy_uj"
        path.write_text(str(int(path.read_text()) + 2000))

    assert counters.joules_of(run, 0.01) == pytest.approx(0.002)


def test_why_there_are_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BitfrontError, match=r"this system has no .*/none"):
        EnergyCounters.found(tmp_path / "none")
    with pytest.raises(BitfrontError, match="has no counters of a processor"):
        EnergyCounters.found(tmp_path)
    path = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (path / "energy_uj").write_text("much")
    with pytest.raises(BitfrontError, match="the counters cannot be read"):
        EnergyCounters.found(tmp_path)

    def refuse(self: Path) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", lambda self: "package-0" if self.name == "name" else refuse(self))
    with pytest.raises(BitfrontError, match="energy_uj may not be read: have its owner let you"):
        EnergyCounters.found(tmp_path)
