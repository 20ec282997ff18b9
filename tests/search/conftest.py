"""Commands as a user runs them; run folders as a search leaves them, made without one; a synthetic search."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bitfront.evaluators.latency import measured
from bitfront.evaluators.latency.timed_runtime import TimingProtocol
from bitfront.search.cli.main import main
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunFolder, RunStore, write_space
from bitfront.spaces import BitConfig, EncoderLayers, Genome, Granularity, SearchSpace

LINEAR = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
PARAMETERS = {"attn.qkv": 27648, "attn.proj": 9216, "mlp.fc1": 36864, "mlp.fc2": 36864}
COUNTS = ("lost", "won", "test_lost", "test_won")
OBJECTIVES = ("top1", "latency_ms", "size_bytes")


def space(granularity: Granularity, encoders: int = 12, scheme: str = "fq-vit") -> SearchSpace:
    layers = [EncoderLayers(i, f"blocks.{i}", LINEAR) for i in range(encoders)]
    return SearchSpace("digits_deit", scheme, layers, (4, 8), granularity)


def worth(config: BitConfig) -> dict[str, float]:
    """Top-1 that collapses with many 4-bit activations; size and latency that add up."""
    rng = np.random.default_rng(3)
    hurt, size, latency = 0.0, 21000.0, 0.9
    for encoder in config.encoders:
        sensitivity = rng.gamma(1.2, 0.35, size=3)
        for layer, parameters in PARAMETERS.items():
            weights, activations = encoder.bits("weights", layer), encoder.bits("activations", layer)
            size += parameters * weights / 8
            latency += parameters * (0.9 * activations + 1.1 * weights) / 6.2e6
            hurt += (weights == 4) * 0.25 * sensitivity[0] + (activations == 4) * 0.5 * sensitivity[1]
        hurt += (encoder.attention == 4) * 0.12 * sensitivity[2]
        latency += 0.02 * encoder.attention / 8
    top1 = 10.0 + 88.7 / (1 + (hurt / 9) ** 3)
    return {"top1": np.round(top1 / 100 * 899) * 100 / 899, "latency_ms": latency, "size_bytes": size}


def dominated(rows: pd.DataFrame) -> np.ndarray:
    costs = rows[list(OBJECTIVES)].to_numpy() * [-1, 1, 1]
    better = (costs[None] <= costs[:, None]).all(-1) & (costs[None] < costs[:, None]).any(-1)
    return better.any(1)


def genomes(space: SearchSpace, count: int, rng: np.random.Generator) -> list[Genome]:
    """A crude search: genomes of every share of 8 bits, then mutations of the non-dominated."""
    found = [(rng.random(len(space)) < rng.random()).astype(np.int64) for _ in range(count // 3)]
    while len(found) < count:
        rows = pd.DataFrame([worth(space.decode(g)) for g in found])
        best = [g for g, bad in zip(found, dominated(rows), strict=True) if not bad]
        for _ in range(min(30, count - len(found))):
            child = best[rng.integers(len(best))].copy()
            flips = rng.random(len(space)) < 2 / len(space)
            child[flips] = 1 - child[flips]
            found.append(child)
    return found


def trial_table(space: SearchSpace, count: int, source: str, max_size: float) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for number, genome in enumerate(genomes(space, count, np.random.default_rng(0))):
        config = space.decode(genome)
        values = worth(config)
        row = {
            "trial": number,
            "digest": config.digest,
            "state": "complete",
            "feasible": values["size_bytes"] <= max_size,
            "top1": values["top1"],
            "loss": 0.05 + (99 - values["top1"]) / 30,
            "kl": (99 - values["top1"]) / 40,
            "latency_ms": values["latency_ms"],
            "latency_source": source,
            "latency_measured_ms": None,
            "size_bytes": values["size_bytes"],
            "test_top1": None,
            **space.bits(genome),
            "violation.max_size": values["size_bytes"] / max_size - 1,
            "lost": round(8.99 * (98.9 - values["top1"])) + number % 4,
            "won": number % 4,
            "test_lost": None,
            "test_won": None,
            "error": None,
        }
        if number % 37 == 36:
            row |= dict.fromkeys(("top1", "loss", "kl", "latency_ms", "size_bytes", "lost", "won")) | {
                "state": "failed",
                "feasible": False,
                "error": f"blocks.{number % 2}.mlp.fc1 saturates",
            }
        rows.append(row)
    return pd.DataFrame(rows)


def references(space: SearchSpace, source: str) -> list[dict[str, Any]]:
    marks = [
        {
            "name": "float32",
            "top1": 98.9,
            "loss": 0.05,
            "latency_ms": 4.9,
            "latency_source": source,
            "latency_measured_ms": 4.9,
            "size_bytes": 5_360_000,
            "test_top1": 98.7,
            "images": 899,
            "test_images": 450,
        }
    ]
    for name, bits in {"W8A8T8": (8, 8, 8), "W4A4T4": (4, 4, 4)}.items():
        values = worth(BitConfig.uniform(space.model, space.scheme, space.encoders, bits))
        marks.append(
            {
                "name": name,
                **values,
                "loss": None,
                "latency_source": source,
                "latency_measured_ms": None,
                "test_top1": None,
                "images": 899,
                **({"lost": 4, "won": 2} if name == "W8A8T8" else {}),
            }
        )
    return marks


def make_run(
    root: Path,
    name: str = "digits-1",
    granularity: Granularity = "encoder-kind",
    count: int = 240,
    source: str = "measured:torch",
    max_size: float = 1_250_000.0,
    encoders: int = 12,
    paired: bool = True,
    recorded: bool = True,
    scheme: str = "fq-vit",
    **evaluation: object,
) -> Path:
    """A finished run; not ``paired`` as versions before the paired comparison wrote it, not ``recorded`` as
    those before recipes did; ``evaluation`` is what else its evaluation spec says."""
    folder = root / name
    folder.mkdir(parents=True)
    searched = space(granularity, encoders, scheme)
    trials = trial_table(searched, count, source, max_size)
    good = trials[trials["feasible"]]
    front = good[~dominated(good)].drop_duplicates(["top1", "latency_ms", "size_bytes"])
    rng = np.random.default_rng(1)
    front = front.assign(
        latency_measured_ms=front["latency_ms"] * rng.normal(1.03, 0.02, len(front)),
        test_top1=front["top1"] - rng.normal(0.3, 0.3, len(front)),
    )
    trials.loc[front.index, "test_lost"] = (98.7 - front["test_top1"]).clip(0) * 4.5 // 1 + 2
    trials.loc[front.index, "test_won"] = 2
    front = front.drop(columns=["state", "feasible", "kl", "violation.max_size", "error", *COUNTS])
    marks = references(searched, source)
    if not paired:
        trials = trials.drop(columns=["error", *COUNTS])
        marks = [{k: v for k, v in m.items() if k not in (*COUNTS, "images", "test_images")} for m in marks]
    spec = {
        "version": 2 if recorded else 1,
        "evaluation": {
            "model": "digits_deit",
            "data": "digits",
            "scheme": scheme,
            **({"recipe": "best", "without": ["log-base"], "observer": None} if recorded else {}),
            "widths": [4, 8],
            "seed": 0,
            "batch_size": 32,
            **evaluation,
        },
        "space": granularity,
        "objectives": ["top1", "latency", "size"],
        "max_size": "0.95x",
        "max_latency": None,
        "min_top1": None,
        "max_drop": None,
        "sampler": "nsga2",
        "evaluations": count,
        "population": 30,
        "seed": 0,
    }
    history = [[n, 0.62 * (1 - np.exp(-n / (count / 4)))] for n in range(30, count + 1, 30)]
    summary = {
        "evaluations": count,
        "trials": len(trials),
        "seconds": 61.5,
        "stopped_because": "all evaluations done",
        "front_points": len(front),
        "hypervolume": history[-1][1] if history else 0.0,
        "reference_point": {"top1": 0.0, "latency_ms": 4.9, "size_bytes": 5_360_000},
        "hypervolume_history": history,
        "limits": [{"name": "max_size", "column": "size_bytes", "bound": max_size, "text": "0.95x"}],
        "latency_source": source,
        "feasible": len(good),
        "message": "",
    }
    write_space(folder, searched)
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "references.json").write_text(json.dumps(marks))
    trials.to_csv(folder / "trials.csv", index=False)
    front.to_csv(folder / "front.csv", index=False)
    return folder


@pytest.fixture
def run_folder() -> Callable[..., Path]:
    """Makes a run folder: ``run_folder(root, name=..., granularity=..., count=..., source=...)``."""
    return make_run


@pytest.fixture(scope="session", name="make_run")
def _make_run() -> Callable[..., Path]:
    """The same, for fixtures that last as long as the session."""
    return make_run


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one finished run, ``digits-1``; to be read only."""
    root = tmp_path_factory.mktemp("runs")
    make_run(root)
    return root


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
def priceable_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run ``searched`` and latency tables of other machines; see ``priceable_run``."""
    from priceable_run import write_run

    root = tmp_path_factory.mktemp("priceable-runs")
    write_run(root)
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


QUICK_TIMING = TimingProtocol(warmup=1, iterations=2, repeats=2, budget_seconds=0.1, fewest=1)
PROGRAM = Path(__file__).parents[1] / "references" / "synthetic_search.py"


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The module, loaded from its file: tests are not a package."""
    spec = importlib.util.spec_from_file_location("bitfront_synthetic_search", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Lines are written all the same; other processes, which tests kill, do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _quick_timing() -> Iterator[None]:
    """Models are timed a few times, not for twelve seconds: how long they take decides nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "TimingProtocol", lambda: QUICK_TIMING)
        yield


@pytest.fixture(scope="session")
def formats_runs(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run ``mixed``: weights of three formats, activations of two; to be read only."""
    root = tmp_path_factory.mktemp("formats-runs")
    searched = synthetic.space("encoder-kind", 4, synthetic.UNEVEN)
    asked = RunSpec(evaluations=40, population=8, sampler="random", allow_larger=True, allow_slower=True)
    spec, folder = synthetic.at_widths_of(searched, asked), RunStore(root).create("mixed")
    write_space(folder.path, searched)
    synthetic.search(folder, spec, searched=searched)
    marks = synthetic.references(searched)
    folder.write_json("references.json", [mark.to_json() for mark in (marks.float_model, marks.eight_bit)])
    return root


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunStore(tmp_path / "runs").create("test")
