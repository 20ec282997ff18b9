"""The facts of a run that a reader of its report must know: what was searched, how, and on which machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from bitfront.search.problem.wording import duration, quantization
from bitfront.search.runs.files import read_json
from bitfront.search.runs.folder import SPLITS
from bitfront.search.runs.listing import run_state
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces.quantities import count_of

# Settings of the evaluation that say how images are prepared.
_PREPARED = ("image_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
_PACKAGES = ("bitfront", "torch", "timm", "openvino", "onnxruntime", "pymoo", "optuna")


class Fact(NamedTuple):
    """One line: what it is, and the fact."""

    label: str
    text: str


def run_facts(run: RecordedRun) -> list[Fact]:
    """The facts of a run as far as they are recorded; files by their names alone, not by their folders."""
    machine = read_json(run.path / "environment.json", dict, absent={})
    found = (*_subject(run), *_search(run), *_refined(run), *_machine(machine))
    return [Fact(label, text) for label, text in found if text]


def _subject(run: RecordedRun) -> Iterator[tuple[str, str]]:
    known = run.evaluation
    yield "model", _name(known.get("model"))
    yield "weights", _name(known.get("checkpoint"))
    yield "data", _name(known.get("data"))
    indices = read_json(run.path / SPLITS, dict, absent={})
    splits = [(split, indices.get(split)) for split in ("calibration", "search", "test")]
    yield "images", ", ".join(f"{len(places):,} {split}" for split, places in splits if places)
    prepared = (f"{name.replace('_', ' ')} {_plain(known[name])}" for name in _PREPARED if known.get(name))
    yield "preprocessing", ", ".join(prepared)
    yield "quantization", quantization(known)


def _search(run: RecordedRun) -> Iterator[tuple[str, str]]:
    spec, summary = run.spec, run.summary
    widths = run.choices.words + " bits" * run.choices.plain if run.choices.every else ""
    searched = f"{spec.get('space') or ''}, {count_of(len(run.genes), 'gene')}"
    yield "space", f"{searched} of {widths}" if widths else searched
    yield "objectives", ", ".join(run.objectives)
    yield "limits", ", ".join(limit.label for limit in run.limits)
    batch = f", batches of {run.latency_batch}" if run.latency_batch else ""
    batch += f", {run.latency_threads} threads" if run.latency_threads != 1 else ""
    yield "latency", f"{run.latency_source}{batch}" if run.latency_source else ""
    measured = "latency_measured_ms" in run.front and run.front["latency_measured_ms"].notna().any()
    yield "whole models", run.latency_measured_source if measured else ""
    yield "sampler", f"{spec.get('sampler') or ''}"
    yield "seed", f"{spec['seed']}" if spec.get("seed") is not None else ""
    paid = summary.get("evaluations")
    counts = count_of(int(paid), "evaluation") if isinstance(paid, int | float) else ""
    seconds = summary.get("seconds")
    took = f" in {duration(float(seconds))}" if isinstance(seconds, int | float) and counts else ""
    known = summary.get("known_evaluations")
    before = f", {known} of them known from earlier runs" if known else ""
    yield "evaluations", f"{counts}{took}{before}"
    yield "state", run_state(run.path, summary)


def _refined(run: RecordedRun) -> Iterator[tuple[str, str]]:
    for trial, point in sorted(run.refined_front.items()):
        yield f"{trial} refined", f"without labels, from {point.images}"


def _machine(machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    cpus, memory = machine.get("cpus_logical"), machine.get("memory_bytes")
    parts = [_plain(machine.get("cpu")), f"{cpus} CPUs" if cpus else "", _plain(machine.get("device"))]
    parts += [f"{memory / 1e9:.0f} GB" if isinstance(memory, int | float) else ""]
    yield "machine", ", ".join(filter(None, parts))
    versions = machine.get("packages") or {}
    python = [f"Python {machine['python']}"] if machine.get("python") else []
    yield (
        "versions",
        ", ".join([*python, *(f"{name} {versions[name]}" for name in _PACKAGES if versions.get(name))]),
    )


def _name(value: Any) -> str:
    """A name without the folder that it lies in: reports are passed on."""
    text = str(value or "")
    return PurePath(text).name if "/" in text or "\\" in text else text


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value or "")
