"""The example package: installed beside bitfront, and used from the command line and from Python."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sampler_contract import SamplerContract
from task_contract import TaskContract

from bitfront.evaluators.tasks.task import Task

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin"
    subprocess.run(
        [sys.executable, "-c", "import shutil, sys; shutil.copytree(*sys.argv[1:])", EXAMPLE, source],
        check=True,
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    subprocess.run([*command, "--target", folder, source], check=True)
    return folder


def bitfront(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from bitfront.search.cli.main import main; sys.exit(main())"
    paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_what_it_adds_is_listed(installed: Path, tmp_path: Path) -> None:
    for command, names in (
        ("search", ("grading", "kappa", "neighbours (of package bitfront-extras)")),
        ("verify", ("onnxruntime-plain",)),
    ):
        text = " ".join(bitfront(installed, tmp_path, command, "--help").stdout.split())
        for name in names:
            assert name in text, name
    assert bitfront(installed, tmp_path, "search", "--sampler", "nearest").returncode == 2


@pytest.mark.thorough
@pytest.mark.slow
def test_a_search_by_its_task_sampler_and_latency(installed: Path, tmp_path: Path) -> None:
    found = bitfront(
        installed, tmp_path, "search", "--model", "digits_deit", "--run", "r", "--task", "grading",
        "--sampler", "neighbours", "--latency", "scaled:2.0", "--evaluations", "8", "--allow-slower",
        "--search-images", "64", "--test-images", "64", "--scheme", "deploy", "--workers", "1", "--json",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert document["objectives"] == ["quadratic_kappa", "latency", "size"]
    assert document["latency_source"] == "scaled:2 of measured:torch here"
    assert all(0.5 < point["quadratic_kappa"] <= 1.0 for point in document["front"])
    header = (tmp_path / "runs" / "r" / "front.csv").read_text().splitlines()[0]
    assert header.startswith("trial,digest,quadratic_kappa,loss,latency_ms,")
    assert ",size_bytes,test_quadratic_kappa," in header
    exported = bitfront(
        installed, tmp_path, "export", "r", "--format", "onnx", "--runtime", "onnxruntime-plain", "--json"
    )
    assert exported.returncode == 0, exported.stderr
    verification = json.loads(exported.stdout)["verification"]
    assert (verification["runtime"], verification["passed"]) == ("onnxruntime-plain", True)


@pytest.mark.slow
def test_its_metric_is_an_objective_of_classification(installed: Path, tmp_path: Path) -> None:
    found = bitfront(
        installed,
        tmp_path,
        "evaluate",
        "--model",
        "digits_deit",
        "--metrics",
        "kappa",
        "--latency",
        "model:bops",
        "--json",
    )
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert 0.9 < document["kappa"] <= 1.0
    assert document["kappa_standard_error"] > 0.0
    assert document["kappa_difference"] == pytest.approx(document["kappa"] - document["fp32_kappa"])


@pytest.fixture
def extras(monkeypatch: pytest.MonkeyPatch):
    """The package's modules, from the source."""
    monkeypatch.syspath_prepend(EXAMPLE)
    return lambda name: importlib.import_module(f"bitfront_extras.{name}")


class TestNeighbourSearch(SamplerContract):
    @pytest.fixture
    def make(self, extras):
        return extras("sampler").NeighbourSearch


class TestGrading(TaskContract):
    @pytest.fixture
    def task(self, extras) -> Task:
        return extras("metrics").GRADING
