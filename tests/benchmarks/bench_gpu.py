"""Images per second of the evaluator's models on a GPU against eager float32 and bfloat16; time to prepare.

python tests/benchmarks/bench_gpu.py --model vit_base_patch16_224 [--checkpoint FILE --data labels.csv]
python tests/benchmarks/bench_gpu.py --model vit_base_patch16_224 --prepare

All see the same batch, which lies on the device already, one after another; higher is better. Weights are
random unless a checkpoint is given: for timing, they do as well. With ``--prepare``, the time of loading,
calibrating and preparing every precision by a recipe is printed instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from subject import context_of, parser_for

from bitfront.evaluators.preparation.layer_fit import FITTING
from bitfront.evaluators.preparation.recipes import RECIPES
from bitfront.spaces import SCHEMES, BitConfig, parse_uniform

Run = Callable[[torch.Tensor], torch.Tensor]
WARM_UP = 3


def wait_for(device: torch.device) -> None:
    """Waits until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def images_per_second(run: Run, images: torch.Tensor, seconds: float) -> float:
    """Images per second of a model on one batch; kernels are chosen before the clock starts."""
    with torch.inference_mode():
        for _ in range(WARM_UP):
            run(images)
        wait_for(images.device)
        started, batches = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            run(images)
            wait_for(images.device)
            batches += 1
    return batches * len(images) / (time.perf_counter() - started)


def main() -> None:
    parser = parser_for("Images per second on a GPU, and the time to prepare a model there")
    parser.set_defaults(device="cuda", checkpoint="random", calibration_images=32)
    parser.add_argument("--schemes", default=",".join(SCHEMES))
    parser.add_argument("--uniform", default="W8A8T8,W8A8T4,W4A4T4")
    parser.add_argument("--recipe", choices=RECIPES, default="best")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each model")
    parser.add_argument("--prepare", action="store_true", help="print the time to prepare, no speeds")
    options = parser.parse_args()
    schemes = options.schemes.split(",")
    if options.prepare:
        for scheme in schemes:
            started = time.perf_counter()
            context = context_of(options, scheme, search_images=8, test_images=1, recipe=options.recipe)
            wait_for(context.prepared.kernels.device)
            taken = time.perf_counter() - started
            print(f"{options.model} by recipe {options.recipe} for {scheme}: prepared in {taken:.1f} s")
        return
    baseline: float | None = None
    for scheme in schemes:
        batch_size = options.batch_size or 64
        context = context_of(
            options,
            scheme,
            search_images=batch_size,
            test_images=1,
            batch_size=batch_size,
            recipe=options.recipe,
            without=tuple(sorted(FITTING)),  # rounding to nearest takes as long, and is prepared at once
        )
        device, module = context.prepared.kernels.device, context.model.module
        batch, _ = next(context.images("search").batches(batch_size))
        images = batch.to(device)
        print(f"{options.model}, {scheme}, batches of {len(images)}: {context.prepared.kernels.description}")
        if baseline is None:
            baseline = images_per_second(module, images, options.seconds)
            show("timm eager float32", baseline, baseline)
            with torch.autocast(device.type, torch.bfloat16):
                show("timm eager bfloat16", images_per_second(module, images, options.seconds), baseline)
        for uniform in options.uniform.split(","):
            config = BitConfig.uniform(options.model, scheme, context.encoders, parse_uniform(uniform))
            model = context.prepared.assemble(config)
            show(f"{scheme} {uniform}", images_per_second(model, images, options.seconds), baseline)


def show(name: str, value: float, baseline: float) -> None:
    """Prints a line of the table."""
    print(f"  {name:24}{value:12.1f} images/s{value / baseline:9.2f} x float32", flush=True)


if __name__ == "__main__":
    main()
