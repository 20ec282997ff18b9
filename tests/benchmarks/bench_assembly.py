"""What switching to another configuration costs, and what all prepared precisions take of memory.

python tests/benchmarks/bench_assembly.py [--model M --checkpoint F --data D]
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from prepared_memory import prepared_bytes
from subject import context_of, parser_for

from bitfront.spaces import GRANULARITIES, SCHEMES, SearchSpace


def main() -> None:
    parser = parser_for(
        "Cost of switching configurations against evaluating them, and memory of the precisions"
    )
    parser.add_argument("--scheme", choices=SCHEMES, default="fq-vit")
    parser.add_argument("--space", choices=GRANULARITIES, default="layer")
    parser.add_argument("--configs", type=int, default=200, help="configurations that are assembled")
    parser.add_argument("--evaluations", type=int, default=5, help="configurations that are evaluated")
    options = parser.parse_args()
    started = time.perf_counter()
    context = context_of(options, options.scheme)
    preparation = time.perf_counter() - started
    spec = context.spec
    space = SearchSpace(spec.model, spec.scheme, context.encoders, spec.widths, options.space)
    configs = [space.decode(genome) for genome in space.sample(np.random.default_rng(0), options.configs)]
    context.float_quality()  # loads the images and compiles nothing that is timed below
    context.quality(configs[0])
    assembling = []
    for config in configs:
        started = time.perf_counter()
        context.prepared.assemble(config)
        assembling.append(time.perf_counter() - started)
    evaluating = []
    for config in configs[: options.evaluations]:
        started = time.perf_counter()
        context.quality(config)
        evaluating.append(time.perf_counter() - started)
    switch, evaluation = statistics.median(assembling), statistics.median(evaluating)
    floats = sum(parameter.nbytes for parameter in context.model.module.parameters())
    tensors = prepared_bytes(context.prepared, context.model.module)
    print(
        f"{spec.model}, {spec.scheme}, space {options.space}, {len(context.images('search'))} search images"
    )
    print(f"loading, calibrating and preparing, once     {preparation:10.3f} s")
    print(f"switching to another configuration, median   {1e3 * switch:10.3f} ms")
    print(f"evaluating one on the search split, median   {1e3 * evaluation:10.1f} ms")
    print(f"share of the switch                          {100.0 * switch / evaluation:10.3f} %")
    print(f"float weights                                {floats / 1e6:10.2f} MB")
    print(f"prepared tensors of all precisions           {tensors / 1e6:10.2f} MB")
    print(f"ratio                                        {tensors / floats:10.2f}")


if __name__ == "__main__":
    main()
