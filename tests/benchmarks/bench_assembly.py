"""What switching to another configuration costs, against evaluating one on the search split.

python tests/benchmarks/bench_assembly.py [--model M --checkpoint F --data D]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from bitfront.evaluators.context import EvaluationContext
from bitfront.evaluators.spec import EvaluationSpec
from bitfront.spaces import GRANULARITIES, SearchSpace


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="digits_deit")
    parser.add_argument("--checkpoint")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--search-images", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--space", choices=GRANULARITIES, default="layer")
    parser.add_argument("--configs", type=int, default=200, help="configurations that are assembled")
    parser.add_argument("--evaluations", type=int, default=5, help="configurations that are evaluated")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    spec = EvaluationSpec(
        model=options.model,
        checkpoint=options.checkpoint,
        data=options.data,
        search_images=options.search_images,
        threads=options.threads,
    )
    started = time.perf_counter()
    context = EvaluationContext.from_spec(spec)
    preparation = time.perf_counter() - started
    space = SearchSpace(spec.model, spec.scheme, context.encoders, spec.widths, options.space)
    configs = [space.decode(genome) for genome in space.sample(np.random.default_rng(0), options.configs)]
    context.float_accuracy()  # loads the images and compiles nothing that is timed below
    context.accuracy(configs[0])
    assembling = []
    for config in configs:
        started = time.perf_counter()
        context.prepared.assemble(config)
        assembling.append(time.perf_counter() - started)
    evaluating = []
    for config in configs[: options.evaluations]:
        started = time.perf_counter()
        context.accuracy(config)
        evaluating.append(time.perf_counter() - started)
    switch, evaluation = statistics.median(assembling), statistics.median(evaluating)
    print(f"{spec.model}, space {options.space}, {len(context.images('search'))} search images")
    print(f"loading, calibrating and preparing, once     {preparation:10.3f} s")
    print(f"switching to another configuration, median   {1e3 * switch:10.3f} ms")
    print(f"evaluating one on the search split, median   {1e3 * evaluation:10.1f} ms")
    print(f"share of the switch                          {100.0 * switch / evaluation:10.3f} %")


if __name__ == "__main__":
    main()
