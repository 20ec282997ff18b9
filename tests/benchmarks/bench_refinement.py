"""What refinement buys: a configuration before and after it, beside the float model.

python tests/benchmarks/bench_refinement.py --model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv
python tests/benchmarks/bench_refinement.py ... --bits W2A8T8

The calibration images and those of the search split are learned from, without their labels; the test split
judges. Codes are uniform with `--without gelu-levels,activation-levels,grouped-weights`.
"""

from __future__ import annotations

import dataclasses

import torch
from subject import parser_for, spec_of

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.preparing import calibrated_for, preparing_threads, task_blueprint
from bitfront.evaluators.context.throughput import torch_threads
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.evaluators.training.refinement.refinement import refine
from bitfront.spaces import BitConfig, parse_uniform

LEARNING = ("encoder_passes", "passes", "batch", "rate", "seed", "threads")


def main() -> None:
    parser = parser_for("What refinement buys")
    parser.set_defaults(calibration_images=128, search_images=372, batch_size=16)
    parser.add_argument("--bits", default="W4A4T4")
    parser.add_argument("--without", default="", help="ingredients of the recipe that are left out")
    usual = RefinementSpec()
    parser.add_argument("--encoder-passes", type=int, default=usual.encoder_passes)
    parser.add_argument("--passes", type=int, default=usual.passes)
    parser.add_argument("--rate", type=float, default=usual.rate)
    parser.add_argument("--batch", type=int, default=usual.batch)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--split-seed", type=int, default=0, help="of the splits")
    options = parser.parse_args()
    bits = parse_uniform(options.bits)
    widths = tuple(sorted({*bits, 8}))
    without = tuple(options.without.split(",")) if options.without else ()
    with spec_of(options, "deploy", widths=widths, without=without, seed=options.split_seed) as spec:
        context = EvaluationContext.from_spec(spec)
    blueprint = task_blueprint(context.spec, context.model.module)
    with torch_threads(preparing_threads(blueprint)):
        calibrated = calibrated_for(context.spec, blueprint, context.images("calibration"))
    config = BitConfig.uniform(options.model, "deploy", context.encoders, bits)
    learning = {name: getattr(options, name) for name in LEARNING}
    show(f"{options.bits} before", context, calibrated, config)
    found = refine(calibrated, blueprint, config, learned_from(context), RefinementSpec(**learning))
    print(f"{found.summary()}; {found.seconds:.0f} s; losses {[round(loss, 4) for loss in found.losses]}")
    show(f"{options.bits} after", context, found.calibrated, config)


def learned_from(context: EvaluationContext) -> PreprocessedImages:
    """The images of calibration and search together."""
    one, other = context.images("calibration"), context.images("search")
    return dataclasses.replace(
        one,
        pixels=torch.cat([one.pixels, other.pixels]),
        labels=torch.cat([one.labels, other.labels]),
        indices=torch.cat([torch.from_numpy(part.indices) for part in (one, other)]).numpy(),
    )


def show(name: str, context: EvaluationContext, calibrated: CalibratedModel, config: BitConfig) -> None:
    """Prints the quality on the test images."""
    prepared = PreparedModel(
        calibrated.blueprint,
        calibrated.calibration,
        "deploy",
        config.formats(),
        layers=calibrated.layers,
        log_steps=calibrated.log_steps,
    )
    logits = context.logits_of(prepared.assemble(config), "test")
    found = context.task.quality(context.outputs(logits, "test"))
    against = found.against_float
    print(
        f"{name}: top-1 {found['top1']:.2f} %, {against.difference:+.2f} ± "
        f"{against.difference_standard_error:.2f} points against float, the same class in "
        f"{found['agreement']:.1f} %, KL {found['kl']:.4f}, on {found.images} images",
        flush=True,
    )


if __name__ == "__main__":
    main()
