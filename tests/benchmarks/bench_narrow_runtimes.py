"""What 4-bit activations and attention cost in runtimes, beside 8-bit ones, and how near to float they are.

python tests/benchmarks/bench_narrow_runtimes.py --model deit_tiny_patch16_224 --checkpoint F --data D

A row is a recipe less some ingredients. Files of all rows run in turn, in random order, in one process on one
thread; a ratio is that of the medians to the 8-bit model's of the first recipe. The processor's time is
counted, which other programs on the machine change less than the clock's. The divergence is the evaluator's,
on images that do not calibrate, and its difference to the first row's is paired by image.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from workbench import Workbench, open_workbench, recipe_parser

from bitfront.evaluators.deployment.graph.model import configuration_graph
from bitfront.evaluators.deployment.graph.operands import DIALECTS
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.deployment.runtimes.runtime import Session
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel

Bits = tuple[int, int, int]
WIDE: Bits = (8, 8, 8)
NARROW: tuple[Bits, ...] = ((8, 4, 8), (8, 8, 4), (4, 4, 4))
# What stands first is what others are compared with.
ROWS = "best;runtime;runtime-gelu-minifloats;best-gelu-levels,activation-levels"
WARM_UP = 3


def main() -> None:
    parser = recipe_parser("4-bit activations and attention in runtimes")
    parser.add_argument("--rows", default=ROWS, help="recipes less ingredients, with semicolons between")
    parser.add_argument("--runtimes", default=",".join(DIALECTS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=5, help="in a row, of each file in each round")
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bench = open_workbench(options)
    models = {row: prepared(bench, row) for row in options.rows.split(";")}
    print(f"{options.model}, {len(bench.calibration)} calibration images, {len(bench.images)} others")
    show_divergences(bench, models)
    for runtime in options.runtimes.split(","):
        show_times(bench, models, runtime, options.rounds, options.iterations, options.batch)


def prepared(bench: Workbench, row: str) -> PreparedModel:
    """A row's model, which keeps its codes."""
    name, _, left_out = row.partition("-")
    recipe = recipe_named(name, filter(None, left_out.split(",")))
    found = bench.calibrated(recipe)
    return PreparedModel(
        found.blueprint,
        found.calibration,
        bench.spec.scheme,
        bench.spec.widths,
        recipe.weight_ranges,
        found.layers,
        found.log_steps,
        keep_codes=True,
    )


def show_divergences(bench: Workbench, models: dict[str, PreparedModel]) -> None:
    """KL to the float model in nats, and its difference to the first row's, with standard errors."""
    first: dict[Bits, torch.Tensor] = {}
    for row, model in models.items():
        cells = []
        for bits in (WIDE, *NARROW):
            logits = bench.logits(model, bench.uniform(bits))
            expected = bench.float_logits.log_softmax(-1)
            divergence = (expected.exp() * (expected - logits.log_softmax(-1))).sum(-1).double()
            difference = divergence - first.setdefault(bits, divergence)
            right = 100 * (logits.argmax(-1) == bench.images.labels).double().mean()
            paired = f"{difference.mean():+.4f} ± {error(difference):.4f}"
            cells.append(f"{name_of(bits)} {divergence.mean():.4f} ({paired}), top-1 {right:.1f}")
        print(f"KL of {row}: " + "; ".join(cells), flush=True)


def show_times(
    bench: Workbench, models: dict[str, PreparedModel], runtime: str, rounds: int, iterations: int, batch: int
) -> None:
    """Medians in milliseconds and their ratios to the first row's 8-bit model."""
    with tempfile.TemporaryDirectory() as folder:
        sessions: dict[tuple[str, Bits], Session] = {}
        for row, model in models.items():
            for bits in (WIDE, *NARROW) if not sessions else NARROW:
                path = Path(folder) / "model.onnx"
                graph = configuration_graph(GraphParts.of(model), bench.uniform(bits), DIALECTS[runtime])
                path.write_bytes(graph.SerializeToString())
                sessions[row, bits] = runtime_named(runtime).load(path, batch=batch)
    images = next(iter(bench.images.batches(batch)))[0].numpy()
    times: dict[tuple[str, Bits], list[float]] = {key: [] for key in sessions}
    order, keys = np.random.default_rng(0), list(sessions)
    for _ in range(rounds):
        for place in order.permutation(len(keys)):
            session = sessions[keys[place]]
            for number in range(WARM_UP + iterations):
                started = time.process_time()
                session(images)
                if number >= WARM_UP:
                    times[keys[place]].append(time.process_time() - started)
    base = float(np.median(times[keys[0]]))
    print(f"{runtime}, batch {batch}: {name_of(WIDE)} {1e3 * base:.2f} ms")
    for row in models:
        found = (f"{name_of(bits)} {np.median(times[row, bits]) / base:.3f}" for bits in NARROW)
        print(f"  {row}: " + ", ".join(found), flush=True)


def name_of(bits: Bits) -> str:
    """Such as ``W4A4T4``."""
    return "".join(f"{kind}{width}" for kind, width in zip("WAT", bits, strict=True))


def error(values: torch.Tensor) -> float:
    """Standard error of a mean."""
    return float(values.std()) / len(values) ** 0.5


if __name__ == "__main__":
    main()
