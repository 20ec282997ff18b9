"""Times of a made-up machine as the program of a probe folder writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

REST_MS, FLOAT_MS = 0.4, 30.0
Document = dict[str, Any]


def encoder_ms(shape: str, bits: Sequence[int]) -> float:
    """Narrow activations and attention cost operators; shapes of more tokens take longer."""
    tokens = int(shape.partition("x")[0])
    return tokens / 100.0 * (1.0 + 0.3 * (bits[1] < 8) + 0.5 * (bits[2] < 8))


def timings_of(
    manifest: Mapping[str, Any],
    runtime: str = "openvino",
    *,
    threads: int = 1,
    batch: int = 1,
    rounds: int = 12,
    noise: float = 0.0,
    levels: Sequence[float] = (),
    factor: float = 1.0,
    extra_ms: float = 0.0,
) -> Document:
    """What ``probe.py`` writes.

    Args:
        manifest: Of the folder.
        runtime: What ran the graphs.
        threads: Of an inference.
        batch: Images of a batch.
        rounds: How often each graph was timed.
        noise: Deviation of single times, as a share.
        levels: By how much each round is slower; none is where empty.
        factor: How much longer an encoder takes within a model.
        extra_ms: What a whole model takes beside its parts.
    """
    rng = np.random.default_rng(0)

    def true_ms(probe: Mapping[str, Any]) -> float:
        if probe["part"] == "rest":
            return REST_MS
        if probe["part"] == "float_model":
            return FLOAT_MS
        if probe["part"] == "encoder":
            return float(manifest["row"] * encoder_ms(probe["shape"], probe["bits"]))
        pairs = zip(manifest["encoders"], probe["encoders"], strict=True)
        return REST_MS + extra_ms + factor * sum(encoder_ms(shape, bits) for shape, bits in pairs)

    mean = {
        probe["name"]: [
            batch * true_ms(probe) * float(np.exp(noise * rng.standard_normal())) * slower
            for slower in levels or [1.0] * rounds
        ]
        for probe in manifest["runtimes"][runtime]["probes"]
    }
    count = len(levels) or rounds
    run = {"runtime": runtime, "runtime_version": "1", "threads": threads, "batch": batch, "mean": mean}
    return {
        "format": "bitfront/latency-timings",
        "version": 1,
        "machine": "abacus",
        "probe": {name: value for name, value in manifest.items() if name != "files"},
        "runs": [{**run, "stopped": 0.0, "rounds": count, "quiet": count}],
    }
