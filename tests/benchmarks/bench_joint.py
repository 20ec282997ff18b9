"""Joint effects: are layers that were fitted behind a float model good in any mixed configuration?

python tests/benchmarks/bench_joint.py --model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv

A layer is fitted to its own input at its own precision, with everything before it in float. Two checks over
random `encoder-kind` configurations, all on KL to the float model (nats, lower is better):

- additivity: the KL that follows from each encoder alone at its bits, all others at 8 bits, against the one
  measured with all of them together;
- conditioning: layers as prepared (fitted for the activation bits that they run at) against layers fitted
  for 8-bit activations, and for 4-bit activations, wherever they run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import pearsonr, spearmanr
from workbench import Workbench, open_workbench, recipe_parser

from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.layer_fit import FITTING
from bitfront.evaluators.preparation.recipes import RECIPES, Recipe, recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig, SearchSpace, UserError

# A difference of fewer standard errors is not told from chance.
TELLING = 2.0


def main() -> None:
    parser = recipe_parser("Whether layers fitted one by one are good in mixed configurations")
    parser.add_argument("--recipe", choices=list(RECIPES), default="best")
    parser.add_argument("--configs", type=int, default=24, help="random configurations, at least 3")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.configs < 3:
        raise UserError(f"--configs {options.configs} is too few for a correlation: give 3 or more")
    recipe = recipe_named(options.recipe)
    if not FITTING & set(recipe.ingredients):
        raise UserError(f"recipe {recipe.name} fits no layers: give one that does, such as best")
    bench = open_workbench(options)
    calibrated = bench.calibrated(recipe)
    prepared = bench.prepared(calibrated, recipe)
    configs = sampled(bench, options.configs, options.seed)
    print(
        f"{options.model}, {options.scheme}, recipe {recipe.name}, "
        f"{len(bench.calibration)} calibration images, {len(bench.images)} evaluation images, "
        f"{len(configs)} configurations, seed {options.seed}"
    )
    measured = divergences(bench, prepared, configs)
    additive = report_additivity(np.array(predicted(bench, prepared, configs)), measured)
    del prepared
    conditioned = report_conditioning(bench, calibrated, recipe, configs, measured)
    print(f"\n{additive} {conditioned}")


def sampled(bench: Workbench, count: int, seed: int) -> list[BitConfig]:
    """Random configurations of the ``encoder-kind`` space."""
    spec = bench.spec
    space = SearchSpace(spec.model, spec.scheme, bench.encoders, spec.widths, "encoder-kind")
    return [space.decode(genome) for genome in space.sample(np.random.default_rng(seed), count)]


def divergence(bench: Workbench, prepared: PreparedModel, config: BitConfig) -> float:
    return bench.quality(bench.logits(prepared, config))["kl"]


def divergences(bench: Workbench, prepared: PreparedModel, configs: Sequence[BitConfig]) -> np.ndarray:
    """KL of each configuration, ``[configurations]``."""
    return np.array([divergence(bench, prepared, config) for config in configs])


def predicted(bench: Workbench, prepared: PreparedModel, configs: Sequence[BitConfig]) -> list[float]:
    """KL of the all-8-bit model plus what each encoder alone at its bits adds to it."""
    base = bench.uniform((8, 8, 8))
    known = {base.digest: divergence(bench, prepared, base)}
    sums = []
    for config in configs:
        total = known[base.digest]
        for index, encoder in enumerate(config.encoders):
            encoders = (*base.encoders[:index], encoder, *base.encoders[index + 1 :])
            alone = dataclasses.replace(base, encoders=encoders)
            if alone.digest not in known:
                known[alone.digest] = divergence(bench, prepared, alone)
            total += known[alone.digest] - known[base.digest]
        sums.append(total)
    print(f"all encoders at 8 bits: KL {known[base.digest]:.5f}; encoders evaluated alone: {len(known) - 1}")
    return sums


def report_additivity(expected: np.ndarray, measured: np.ndarray) -> str:
    """Prints how well sums predict the measured KL; returns the finding."""
    rank, linear = float(spearmanr(expected, measured)[0]), float(pearsonr(expected, measured)[0])
    relative = (expected - measured) / measured
    off, bias = 100.0 * float(np.abs(relative).mean()), 100.0 * float(relative.mean())
    print("\nKL added up from single encoders against measured")
    print(f"  measured KL, mean (least to most)   {span(measured)}")
    print(f"  predicted KL, mean (least to most)  {span(expected)}")
    print(f"  Spearman / Pearson correlation      {rank:.3f} / {linear:.3f}")
    print(f"  mean relative error                 {off:.1f} % (with its sign {bias:+.1f} %)", flush=True)
    return (
        f"Sums of single-encoder KL rank {len(measured)} mixed configurations with a Spearman correlation of "
        f"{rank:.3f} and are off by {off:.0f} % on average ({bias:+.0f} % with the sign)."
    )


def span(values: np.ndarray) -> str:
    return f"{values.mean():.4f} ({values.min():.4f} to {values.max():.4f})"


def report_conditioning(
    bench: Workbench,
    calibrated: CalibratedModel,
    recipe: Recipe,
    configs: Sequence[BitConfig],
    own: np.ndarray,
) -> str:
    """Prints the KL of layers fitted for their own and for other activation bits; returns the finding."""
    print("\nactivation bits that layers are fitted for   mean KL   less own KL, ± paired s.e.")
    print(f"  those that they run at (as prepared)  {own.mean():10.4f}")
    findings = []
    for bits in bench.spec.widths:
        other = divergences(bench, bench.prepared(fitted_for(calibrated, bits), recipe), configs)
        more = other - own
        mean, error = float(more.mean()), float(more.std(ddof=1)) / math.sqrt(len(more))
        print(
            f"  {bits} bits wherever they run              {other.mean():10.4f}   {mean:+.4f} ± {error:.4f}",
            flush=True,
        )
        findings.append(finding(bits, mean, error, float(own.mean())))
    return f"Against layers fitted for the activation bits that they run at, {' and '.join(findings)}."


def fitted_for(calibrated: CalibratedModel, activations: int) -> CalibratedModel:
    """The calibrated model with every layer as it was fitted for these activation bits."""
    layers = {key: calibrated.layers[(*key[:3], activations)] for key in calibrated.layers}
    return dataclasses.replace(calibrated, layers=layers)


def finding(bits: int, mean: float, error: float, own: float) -> str:
    """What a difference of mean KL says, in words that follow from the figures."""
    figures = f"({mean:+.4f} ± {error:.4f})"
    if abs(mean) <= TELLING * error:
        return f"fitting for {bits} bits changes KL by no more than {TELLING:.0f} standard errors {figures}"
    change = "raises" if mean > 0 else "lowers"
    return f"fitting for {bits} bits {change} KL by {100.0 * abs(mean) / own:.1f} % {figures}"


if __name__ == "__main__":
    main()
