"""Whether golden models have the evaluator's logits to the bit, and what they cost.

python tests/benchmarks/bench_golden.py [--model M --checkpoint F --data D --images 1000]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from subject import context_of, parser_for

from bitfront.evaluators.context.context import SplitName
from bitfront.evaluators.deployment.graph.integer_model import golden_graph
from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.spaces import BitConfig, SearchSpace, parse_uniform

SCHEME, MIXED, BATCH = "fq-vit", "mixed", 8
SPLITS: tuple[SplitName, ...] = ("calibration", "search", "test")


def main() -> None:
    parser = parser_for("Golden models in ONNX Runtime beside the evaluator")
    parser.add_argument("--configs", default=f"W8A8T8,{MIXED}", help=f"uniform widths, or {MIXED}")
    parser.add_argument("--space", default="layer", help="granularity of the mixed configuration")
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--images", type=int, help="how many, in all splits; all where not given")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    test = None
    if options.images is not None:
        options.search_images = max(1, (options.images - options.calibration_images) // 2)
        test = options.images - options.calibration_images - options.search_images
    context = context_of(
        options, SCHEME, keep_codes=True, recipe=options.recipe, test_images=test, allow_chance=True
    )
    print(f"{context.spec.model}, {SCHEME}, recipe {options.recipe}: {context.prepared.kernels.description}")
    print(f"{'':8} {'MB':>7} {'images':>7} {'logits':>9} {'unequal':>8} {'top-1':>6} {'ms/image':>9}")
    space = SearchSpace(context.spec.model, SCHEME, context.encoders, context.spec.widths, options.space)
    for name in options.configs.split(","):
        if name == MIXED:
            config = space.decode(space.sample(np.random.default_rng(0), 1)[0])
        else:
            config = BitConfig.uniform(context.spec.model, SCHEME, context.encoders, parse_uniform(name))
        wanted = torch.cat([context.logits(config, split) for split in SPLITS]).numpy()
        labels = torch.cat([context.images(split).labels for split in SPLITS]).numpy()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "golden.onnx"
            path.write_bytes(golden_graph(context.prepared, config).SerializeToString())
            size = path.stat().st_size
            session = runtime_named("onnxruntime").load(path, threads=options.threads)
            got, seconds = [], 0.0
            for split in SPLITS:
                for batch, _ in context.images(split).batches(BATCH):
                    started = time.perf_counter()
                    got.append(session(batch.numpy()))
                    seconds += time.perf_counter() - started
        unequal = int((np.concatenate(got).view(np.int32) != wanted.view(np.int32)).sum())
        top1 = 100.0 * float((wanted.argmax(1) == labels).mean())
        print(
            f"{name:8} {size / 1e6:7.2f} {len(wanted):7,} {wanted.size:9,} {unequal:8,} {top1:6.2f} "
            f"{1e3 * seconds / len(wanted):9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
