"""How fast accuracy is evaluated: quantized models against eager float32 and against float fake quantization.

python tests/benchmarks/bench_evaluator.py [--model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv]
python tests/benchmarks/bench_evaluator.py --model vit_base_patch16_224 --checkpoint random --data labels.csv

All runs see the same batch with the same threads and run in turn; the figures are ratios of images
per second (higher is better) from the medians. The batch is the size that the evaluator chooses by its own
measurement, unless one is given. The last column shows that the simulation simulates the same model: at 8
bits the classes agree, while 4-bit activations amplify every rounding that differs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from fake_quantization import FakeQuantizedVit
from subject import context_of, parser_for

from bitfront.evaluators.latency.timed_runtime import TimingProtocol, time_interleaved
from bitfront.evaluators.preparation.layer_fit import FITTING
from bitfront.evaluators.preparation.recipes import RECIPES
from bitfront.spaces import SCHEMES, BitConfig, parse_uniform

FLOAT = "timm eager float32"
Runs = dict[str, Callable[[], torch.Tensor]]


def main() -> None:
    parser = parser_for(
        "Images per second of the quantized models, of float32 and of float fake quantization"
    )
    parser.add_argument("--schemes", default=",".join(SCHEMES))
    parser.add_argument("--uniform", default="W8A8T8,W8A8T4,W4A4T4")
    parser.add_argument(
        "--recipe", choices=RECIPES, default="best", help="its weights are rounded to nearest in any case"
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="time for all runs together")
    options = parser.parse_args()
    runs: Runs = {}
    batch_size = options.batch_size
    for scheme in options.schemes.split(","):
        images_needed = max(64, batch_size or 0)
        context = context_of(
            options,
            scheme,
            search_images=images_needed,
            test_images=1,
            recipe=options.recipe,
            without=tuple(sorted(FITTING)),
            batch_size=batch_size,
        )
        batch_size = context.spec.batch_size
        images, _ = next(context.images("search").batches(batch_size))
        module = context.model.module
        runs.setdefault(FLOAT, lambda module=module, images=images: module(images))  # type: ignore[misc]
        for uniform in options.uniform.split(","):
            config = BitConfig.uniform(options.model, scheme, context.encoders, parse_uniform(uniform))
            for kind, model in (
                (scheme, context.prepared.assemble(config)),
                (f"fake {scheme}", FakeQuantizedVit(context, config)),
            ):
                runs[f"{kind} {uniform}"] = lambda model=model, images=images: model(images)  # type: ignore[misc]
        print(f"{scheme}: {context.prepared.kernels.description}")
    torch.set_num_threads(options.threads)
    compare(options.model, runs, batch_size, options.threads, options.seconds)


def compare(model: str, runs: Runs, batch_size: int, threads: int, seconds: float) -> None:
    """Times the runs in turn and prints their ratios."""
    with torch.inference_mode():
        answers = {name: run().argmax(-1) for name, run in runs.items()}
        times = time_interleaved(runs, TimingProtocol(budget_seconds=seconds))
    per_second = {name: 1e3 * batch_size / entry.milliseconds for name, entry in times.items()}
    print(f"{model}, batches of {batch_size}, {threads} thread(s), images per second")
    print(f"{'':22}{'images/s':>10}{'/ float':>9}{'/ fake':>9}{'spread':>9}{'agrees with fake':>18}")
    for name, value in per_second.items():
        row = f"{name:22}{value:10.1f}{value / per_second[FLOAT]:9.2f}"
        fake = f"fake {name}"
        if fake in per_second:
            agreement = 100.0 * float((answers[name] == answers[fake]).double().mean())
            row += f"{value / per_second[fake]:9.2f}{times[name].spread_percent:8.1f}%{agreement:17.1f}%"
        else:
            row += f"{'':9}{times[name].spread_percent:8.1f}%"
        print(row)


if __name__ == "__main__":
    main()
