"""Evaluates the same configurations with one worker and with two, and prints how much quicker two are.

python tests/benchmarks/bench_workers.py [--evaluations 40] [--repeats 3]
python tests/benchmarks/bench_workers.py --model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv \
    --search-images 64 --evaluations 16

Starting the workers and preparing the model are left out: the workers are warmed up by evaluations first.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import psutil
from subject import parser_for, spec_of

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.workers.pool import DaskPool
from bitfront.spaces import BitConfig, SearchSpace


def configurations(context: EvaluationContext, count: int) -> list[BitConfig]:
    spec = context.spec
    space = SearchSpace(spec.model, spec.scheme, context.encoders, spec.widths, "encoder-kind")
    return [space.decode(np.array(genome)) for genome in space.sample(np.random.default_rng(0), count)]


def answered(pool: DaskPool, configs: list[BitConfig]) -> float:
    """Evaluates configurations as the engine does; seconds that it took."""
    started, sent, done = time.perf_counter(), 0, 0
    while done < len(configs):
        while sent < len(configs) and sent - done < pool.capacity:
            pool.submit(sent, configs[sent])
            sent += 1
        found = pool.next_completed(1.0)
        if found is not None:
            assert not isinstance(found[1], EvaluationFailure), found[1]
            done += 1
    return time.perf_counter() - started


def timed(spec: EvaluationSpec, configs: list[BitConfig], workers: int) -> tuple[float, float]:
    """Seconds for all configurations, and the share of a processor that the coordinator took meanwhile."""
    pool = DaskPool(spec, workers)
    try:
        answered(pool, configs[: 4 * workers])
        before = sum(psutil.Process().cpu_times()[:2])
        seconds = answered(pool, configs)
        return seconds, (sum(psutil.Process().cpu_times()[:2]) - before) / seconds
    finally:
        pool.close()


def main() -> None:
    parser = parser_for("How much quicker two workers are than one, on the same evaluations")
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with spec_of(options, "fq-vit") as asked:
        context = EvaluationContext.from_spec(asked)
        configs = configurations(context, options.evaluations)
        started = time.perf_counter()
        for config in configs[:4]:
            context.quality(config)
        alone_ms = (time.perf_counter() - started) * 1000 / 4
        print(f"{asked.model}: {len(configs)} evaluations of {alone_ms:.0f} ms in this process")
        ratios = []
        for _ in range(options.repeats):
            (one, share), (two, share_of_two) = (timed(context.spec, configs, workers) for workers in (1, 2))
            ratios.append(one / two)
            print(
                f"  1 worker {one:6.2f} s (coordinator: {share:.0%} of a processor), "
                f"2 workers {two:6.2f} s ({share_of_two:.0%}): {one / two:.2f} times as fast",
                flush=True,
            )
        print(f"  median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
