"""A finished run of the synthetic search that can be priced by tables, made without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import synthetic_search

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency.table import Latency, LatencyTable, TableLatency, TimedEncoder
from bitfront.evaluators.latency.table_file import table_csv
from bitfront.search.engine.result import SearchResult
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunStore, write_space
from bitfront.search.runs.recorded_costs import write_encoders
from bitfront.spaces import triples

SHAPE, MACS = "65x32h2m64", {"attn.qkv": 3, "attn.proj": 1, "mlp.fc1": 2, "mlp.fc2": 2}
ENCODERS = [TimedEncoder(SHAPE, MACS)] * 12
SPEC = RunSpec(
    EvaluationSpec(scheme="fq-vit"),
    sampler="random",
    evaluations=40,
    max_latency="18ms",
    max_drop=30.0,
    population=8,
)


def table(seed: int, float_ms: float = 20.0, batch: int = 1) -> LatencyTable:
    """Times of a machine on which narrower need not be quicker, with some noise."""
    rng = np.random.default_rng(seed)
    times = {(SHAPE, triple): Latency(float(rng.uniform(0.8, 1.2)), 2.0) for triple in triples((4, 8))}
    return LatencyTable(times, Latency(0.3), Latency(float_ms), batch, f"clock {seed}", "fq-vit", "a phone")


def latencies(seed: int, float_ms: float = 20.0) -> TableLatency:
    return TableLatency(table(seed, float_ms), ENCODERS, triples((4, 8)))


def summary_of(result: SearchResult) -> dict[str, Any]:
    cost = result.problem.cost
    return {**result.to_json(), "latency_batch": 1, "latency_noise": cost.latency_noise}


def write_run(root: Path, name: str = "searched") -> Path:
    """A whole run folder, and beside it the tables ``phone.csv`` and ``gpu.csv`` (for batches of 8)."""
    folder, searched = RunStore(root).create(name), synthetic_search.space()
    spec = synthetic_search.at_widths_of(searched, SPEC)
    result = synthetic_search.search(folder, spec)
    write_space(folder.path, searched)
    write_encoders(folder, ENCODERS)
    folder.write_json("references.json", synthetic_search.references(searched).to_json())
    folder.write_json("summary.json", summary_of(result))
    folder.write_json("splits.json", {"calibration": [], "search": list(range(500)), "test": []})
    (root / "phone.csv").write_text(table_csv(table(1)))
    (root / "gpu.csv").write_text(table_csv(table(2, batch=8)))
    return folder.path
