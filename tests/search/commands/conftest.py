"""Running the commands as a user does."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from bitfront.search.cli.main import main


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error line, which must be the last and the only one of its kind."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0]
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def bitfront(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def deploy_runs(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    """A folder of runs with two that were not searched at all: ``small`` of scheme deploy, ``integers``."""
    root = tmp_path_factory.mktemp("deploy-runs")
    images = {"calibration_images": 32, "search_images": 40, "test_images": 60}
    for name, scheme in (("small", "deploy"), ("integers", "fq-vit")):
        make_run(root, name=name, count=60, scheme=scheme, threads=1, **images)
    return root


@pytest.fixture(scope="session")
def exported(deploy_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The knee of ``small`` in every format that computes; to be copied, not to be changed."""
    folder, found = tmp_path_factory.mktemp("exports"), {}
    for name, ending in (("onnx", ".onnx"), ("openvino", ".xml"), ("packed", ".safetensors")):
        pytest.importorskip({"onnx": "onnxruntime"}.get(name, "openvino"))
        path = folder / f"m{ending}"
        words = ["export", "small", "--runs-dir", str(deploy_runs), "--format", name, "--output", str(path)]
        with redirect_stdout(io.StringIO()) as out:
            assert main([*words, "--json"]) == 0
        assert json.loads(out.getvalue())["verification"]["passed"]
        found[name] = path
    return found
