"""A search whose evaluations are a formula: 12 encoders, additive error with interactions; also a program.

python synthetic_search.py FOLDER NAME [--seed N] [--evaluations N] [--workers N] [--pause S] [--resume] ...
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.tasks.quality import Quality
from bitfront.search.engine.engine import SearchEngine
from bitfront.search.engine.protocols import AccuracyPool, InlinePool
from bitfront.search.engine.result import SearchResult
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import EIGHT_BIT_NAME, FLOAT_NAME, Reference, References
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunFolder, RunStore
from bitfront.search.runs.study import StudyRecord
from bitfront.search.runs.tables import FolderWriter, RunTables
from bitfront.search.samplers.registry import make_sampler
from bitfront.spaces import (
    FORMATS,
    KINDS,
    BitConfig,
    BitfrontError,
    Choices,
    EncoderLayers,
    SearchSpace,
    triples,
)

LINEAR = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


# Weights have three choices, activations two, and attention is not searched.
UNEVEN = Choices((4, "int8a", "bf16"), (8, "bf16"), (8,))


def space(
    granularity: str = "encoder-kind", encoders: int = 12, widths: tuple[int, ...] | Choices = (4, 8)
) -> SearchSpace:
    layers = [EncoderLayers(i, f"blocks.{i}", LINEAR) for i in range(encoders)]
    scheme = "deploy" if isinstance(widths, Choices) else "fq-vit"
    return SearchSpace("synthetic", scheme, layers, widths, granularity)


def bits_of(config: BitConfig) -> np.ndarray:
    """Mean bits, shape ``[encoders, 3]``."""
    rows = [
        [np.mean([FORMATS[e.bits(kind, layer)].bits for layer in LINEAR]) for kind in KINDS]
        for e in config.encoders
    ]
    return np.array(rows)


class Cost:
    """Size follows the weights, latency everything: separable, the narrowest is the least."""

    latency_source = "model:synthetic"
    latency_noise = 0.0
    further: ClassVar[dict] = {}

    def latency_ms(self, config: BitConfig) -> float:
        return float(2.0 + (bits_of(config) * [0.05, 0.1, 0.025]).sum())

    def size_bytes(self, config: BitConfig) -> int:
        return int(20_000 + (bits_of(config)[:, 0] * (1000 + 100 * np.arange(len(config.encoders)))).sum())

    def minimum_latency_ms(self, space: SearchSpace, rules: object = ()) -> float:
        return self.latency_ms(narrowest(space))

    def minimum_size_bytes(self, space: SearchSpace, rules: object = ()) -> int:
        return self.size_bytes(narrowest(space))

    def maximum_size_bytes(self, space: SearchSpace) -> int:
        return self.size_bytes(widest(space))


def narrowest(space: SearchSpace) -> BitConfig:
    return BitConfig.uniform(space.model, space.scheme, space.encoders, triples(space.choices)[-1])


def widest(space: SearchSpace) -> BitConfig:
    return BitConfig.uniform(space.model, space.scheme, space.encoders, triples(space.choices)[0])


def uniform(space: SearchSpace, bits: int) -> BitConfig:
    return BitConfig.uniform(space.model, space.scheme, space.encoders, (bits, bits, bits))


def score(config: BitConfig, required: float | None = None) -> Quality:
    """Every 4-bit choice costs accuracy, and 4-bit weights beside 4-bit activations cost more."""
    narrow = np.maximum(8 - bits_of(config), 0) / 4
    cost = np.random.default_rng(7).gamma(1.0, 1.0, size=(64, 3))[: len(narrow)] * [0.6, 1.5, 0.5]
    loss = float((narrow * cost).sum() + (narrow[:, 0] * narrow[:, 1]).sum() * 0.3)
    top1 = 98.0 - 60.0 * loss / (loss + 15.0)
    won = int(config.digest, 16) % 5
    lost = won + round(5 * (98.5 - top1))
    values = {"top1": top1, "top5": min(100.0, top1 + 1.5), "loss": loss / 10, "kl": loss / 12}
    return Quality(500, {**values, "agreement": top1}, lost, won, 0.0)


def references(space: SearchSpace) -> References:
    cost, eight = Cost(), uniform(space, 8)
    return References(
        Reference(FLOAT_NAME, 25.0, 700_000, {"top1": 98.5, "loss": 0.02}, classes=10, images=500),
        Reference(EIGHT_BIT_NAME, cost.latency_ms(eight), cost.size_bytes(eight)),
    )


def at_widths_of(space: SearchSpace, spec: RunSpec | None = None) -> RunSpec:
    """A spec, by default the defaults, at the widths of a space."""
    spec = spec or RunSpec()
    own = {"widths": space.widths} if space.choices.plain else {"formats": space.choices.texts}
    return dataclasses.replace(spec, evaluation=dataclasses.replace(spec.evaluation, **own))


def problem(spec: RunSpec | None = None, searched: SearchSpace | None = None) -> SearchProblem:
    searched = searched or space()
    return SearchProblem.from_spec(at_widths_of(searched, spec), searched, Cost(), references(searched))


def search(
    folder: RunFolder,
    spec: RunSpec,
    pool: AccuracyPool | None = None,
    searched: SearchSpace | None = None,
    resume: bool = False,
    observers: tuple = (),
    url: str | None = None,
) -> SearchResult:
    """A whole run, as the command line puts it together."""
    stated = problem(spec, searched)
    with folder.lock(), folder.log_file():
        begin = StudyRecord.open if resume else StudyRecord.create
        folder.write_spec(spec)
        record = begin(folder.path, folder.name, spec, stated, url)
        tables = RunTables(folder, stated)
        engine = SearchEngine(
            stated,
            make_sampler(spec.sampler, stated, spec.population, spec.seed),
            pool or InlinePool(score),
            record,
            Budget(spec.evaluations or 100, spec.time_budget, record.elapsed_s, plateau=spec.plateau),
            (*observers, FolderWriter(tables, record)),
        )
        result = engine.run()
        tables.write(result.trials, result.front)
        folder.write_json("summary.json", result.to_json())
    return result


def paused_score(pause: float, spec_json: str, config_json: str, required: float | None = None) -> Quality:
    """What a worker runs: the formula, after a pause that differs between configurations."""
    config = BitConfig.from_json(json.loads(config_json))
    time.sleep(pause * (int(config.digest, 16) % 7) / 3)
    return score(config, required)


def dask_pool(workers: int, pause: float = 0.0) -> AccuracyPool:
    import cloudpickle

    from bitfront.search.workers.pool import DaskPool

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return DaskPool(
        EvaluationSpec(model="digits_deit", scheme="fq-vit"), workers, evaluate=partial(paused_score, pause)
    )


def inline_pool(pause: float) -> AccuracyPool:
    def evaluate(config: BitConfig, required: float | None) -> Quality:
        return paused_score(pause, "", json.dumps(config.to_json()), required)

    return InlinePool(evaluate)


class Announcer:
    """Prints a line for every evaluation, so that a test knows when to strike."""

    def __call__(self, progress, trial) -> None:
        if trial is not None:
            print(f"evaluated {progress.evaluations}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    store = RunStore(given.root)
    folder = store.open(given.name) if given.resume else store.create(given.name)
    spec = RunSpec(seed=given.seed, evaluations=given.evaluations, population=16)
    pool = dask_pool(given.workers, given.pause) if given.workers else inline_pool(given.pause)
    try:
        result = search(folder, spec, pool, resume=given.resume, observers=(Announcer(),))
    except BitfrontError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    finally:
        pool.close()
    print(result.reason)
    return 0


if __name__ == "__main__":
    sys.exit(main())
