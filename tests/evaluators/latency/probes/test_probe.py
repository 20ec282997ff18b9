"""The program of a probe folder: run where bitfront cannot be imported, gone on with, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitfront.evaluators.latency.probes import probe as runner
from bitfront.evaluators.latency.probes.fitting import fitted_tables
from bitfront.evaluators.latency.probes.timings import read_timings


def run(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """Runs the program; a module of that name stands in the way of bitfront itself."""
    (folder / "bitfront.py").write_text("raise ImportError('not here')\n")
    words = [sys.executable, "probe.py", *map(str, options)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def folder(probed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(probed, tmp_path / "there")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_graphs_are_timed_and_make_a_table(folder: Path, runtime: str) -> None:
    pytest.importorskip(runtime)
    threads = "1,2" if runtime == "onnxruntime" else "2"  # the other takes a while to load each graph
    words = ("--runtime", runtime, "--seconds", 0.2, "--threads", threads)
    done = run(folder, *words)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    read = read_timings(folder / "timings.json")
    loads = [(runtime, int(count), 1) for count in threads.split(",")]
    assert [(one.runtime, one.threads, one.batch) for one in read.sets] == loads
    for fitted in fitted_tables(read):
        table = fitted.table
        assert (table.source, table.scheme, table.batch) == (f"measured:{runtime}", "deploy", 1)
        assert len(table.encoders) == 8
        every = [*table.encoders.values(), table.rest, table.float_model]
        assert all(entry.milliseconds > 0.0 for entry in every)
        assert len(fitted.checks) == 2
    again = run(folder, *words)
    assert (again.returncode, again.stderr.count("there already")) == (0, len(loads))


def test_a_folder_is_a_fraction_of_the_model(probed: Path) -> None:
    """Weights are shared, and everything is compared with its hash."""
    found = runner.read_manifest(probed)
    graphs = {path.name for path in (probed / "graphs").iterdir()}
    assert graphs == set(found["files"])
    assert {"floats.bin", "codes.bin", "float.onnx", "openvino-rest.onnx"} <= graphs
    lines = (probed / "openvino.txt").read_text().splitlines()
    assert len(lines) == len(found["runtimes"]["openvino"]["probes"])
    assert "openvino-rest.onnx 3,16,16" in lines


def _damaged(folder: Path) -> None:
    (folder / "graphs" / "float.onnx").write_bytes(b"else")


def _lost(folder: Path) -> None:
    (folder / "graphs" / "codes.bin").unlink()


def _newer(folder: Path) -> None:
    found = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**found, "version": 9}))


def _none(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


def _others(folder: Path) -> None:
    (folder / "timings.json").write_text("{}")


@pytest.mark.parametrize(
    ("harm", "options", "expected"),
    [
        (_damaged, (), "float.onnx is not what was written"),
        (_lost, (), "codes.bin cannot be read"),
        (_newer, (), "make the folder again"),
        (_none, (), "manifest.json cannot be read"),
        (_others, (), "timings.json cannot be gone on with"),
        (None, ("--collect", "times.csv"), "--collect needs --runtime"),
        (None, ("--collect", "gone.csv", "--runtime", "openvino", "--machine", "m"), "gone.csv, line 1"),
    ],
)
def test_mistakes_are_told_in_a_line(
    folder: Path, harm: Any, options: tuple[str, ...], expected: str
) -> None:
    if harm is not None:
        harm(folder)
    done = run(folder, *options)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [("--threads", "0"), ("--batch", "1,x"), ("--seconds", "nan")])
def test_numbers_are_looked_at(options: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        runner.main(options)
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_times_of_another_program_are_collected(folder: Path) -> None:
    rows = ["probe,threads,batch,milliseconds"]
    found = runner.read_manifest(folder)
    for place, entry in enumerate(found["runtimes"]["openvino"]["probes"], start=1):
        rows += [f"{entry['file']},2,1,{place}.5", f"{entry['name']},2,1,{place}.5"]
    (folder / "times.csv").write_text("\n".join(rows))
    options = ("--collect", "times.csv", "--runtime", "openvino", "--machine", "Pixel 8")
    assert run(folder, *options).returncode == 0
    read = read_timings(folder / "timings.json")
    assert (read.machine, read.sets[0].threads) == ("Pixel 8", 2)
    assert read.sets[0].means["rest"] == (1.5, 1.5)
    (folder / "times.csv").write_text("\n".join(rows[:-2]))
    done = run(folder, *options, "--output", "others.json")
    assert "has no time of check-1 for threads 2, batch 1" in done.stderr


class Disturbed:
    """A clock that runs move; from the fifth round on other work makes all of them slower."""

    def __init__(self) -> None:
        self.now, self.runs = 0.0, 0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter

    def run(self, seconds: float) -> None:
        self.runs += 1
        self.now += seconds * (3.0 if self.now > 1.5 else 1.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disturbed]:
    found = Disturbed()
    monkeypatch.setattr(runner, "time", found)
    return found


def test_disturbed_rounds_are_counted_and_timing_goes_on_for_longer(clock: Disturbed) -> None:
    shares: list[float] = []
    runs = {"a": lambda: clock.run(0.02), "b": lambda: clock.run(0.05)}
    found = runner.time_runs(runs, 4.0, shares.append)
    assert 4.0 * (1.0 + runner.LONGER) <= clock.now < 7.5
    assert found["rounds"] == len(found["mean"]["a"]) == len(found["mean"]["b"])
    assert 0 < found["quiet"] < found["rounds"]
    assert found["mean"]["a"][0] == pytest.approx(20.0)
    assert found["mean"]["a"][-1] == pytest.approx(60.0)
    assert shares == sorted(shares)
