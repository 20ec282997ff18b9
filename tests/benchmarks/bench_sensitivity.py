"""Gradient scores against measured divergences, of single genes and of random mixed configurations.

python tests/benchmarks/bench_sensitivity.py --model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv

Measured is the KL divergence from the prediction at the widest, on the search images. Predictions:

- Fisher diagonal: squared gradients times squared errors, as common scores have it, summed over genes;
- additive: the diagonal of the moments, each gene's whole error tensor, summed over genes;
- quadratic, raw: with the products of genes as the pass found them;
- quadratic: with those products shrunk by the chance in them, which is what `predicted_kl` gives.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch
from scipy.stats import spearmanr
from subject import context_of, parser_for

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.sensitivity.gene_scores import scores_of
from bitfront.evaluators.sensitivity.projections import (
    SEED,
    Projections,
    State,
    StateErrors,
    pass_images,
    project,
    site_gradients,
    states,
)
from bitfront.spaces import SearchSpace
from bitfront.spaces.space import GRANULARITIES


def main() -> None:
    parser = parser_for("How well gradient scores predict divergences")
    parser.add_argument("--scheme", default="fq-vit")
    parser.add_argument("--space", choices=GRANULARITIES, default="encoder-kind")
    parser.add_argument("--configs", type=int, default=40, help="random mixed configurations")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    context = context_of(options, options.scheme)
    spec = context.spec
    space = SearchSpace(spec.model, spec.scheme, context.encoders, spec.widths, options.space)
    count, batches = pass_images(context.images("search"))
    started = time.perf_counter()
    projections = project(context.prepared, batches)
    seconds = time.perf_counter() - started
    genomes = sampled(space, options.configs, options.seed)
    measured, evaluation = divergences(context, space, genomes)
    print(
        f"{spec.model}, {spec.scheme}, {len(space)} genes: one pass over {count} images {seconds:.1f} s, "
        f"one evaluation of {len(context.images('search'))} images {evaluation:.2f} s"
    )
    narrow = genomes[1:] < len(space.widths) - 1
    scores = scores_of(projections, space)
    predictions = {
        "Fisher diagonal": narrow @ fisher_diagonal(context, space),
        "additive": np.take_along_axis(scores.additive[None], genomes[1:, :, None], 2)[:, :, 0].sum(1),
        "quadratic, raw": np.array([raw(projections, space, genome) for genome in genomes[1:]]),
        "quadratic": scores.predicted_kl(genomes[1:]),
    }
    for name, part in (("single genes", slice(0, len(space))), ("mixed", slice(len(space), None))):
        print(f"\n{name:18}  Spearman  median relative error  median ratio")
        for method, predicted in predictions.items():
            report(method, predicted[part], measured[1:][part])


def sampled(space: SearchSpace, count: int, seed: int) -> np.ndarray:
    """The widest, each gene at its lowest, and random genomes with shares of narrow genes from 5 to 70 %."""
    widest = np.full((1, len(space)), len(space.widths) - 1)
    single = np.repeat(widest, len(space), 0)
    np.fill_diagonal(single, 0)
    rng = np.random.default_rng(seed)
    mixed = space.sample(rng, count)
    kept = rng.random(mixed.shape) >= np.linspace(0.05, 0.7, count)[:, None]
    return np.concatenate([widest, single, np.where(kept, widest, mixed)])


def divergences(
    context: EvaluationContext, space: SearchSpace, genomes: np.ndarray
) -> tuple[np.ndarray, float]:
    """Divergence of each genome from the first one, and the seconds of an evaluation."""
    base, found = None, []
    started = time.perf_counter()
    for genome in genomes:
        outputs = context.outputs(context.logits(space.decode(genome), "search"), "search")
        base = outputs.values if base is None else base
        found.append(context.task.quality(dataclasses.replace(outputs, reference=base))["kl"])
    return np.array(found), (time.perf_counter() - started) / len(genomes)


def raw(projections: Projections, space: SearchSpace, genome: np.ndarray) -> float:
    """The divergence of a whole configuration's projections, products of parts and all."""
    widest = np.full(len(space), len(space.widths) - 1)
    return projections.divergence(space.decode(genome), space.decode(widest))


def fisher_diagonal(context: EvaluationContext, space: SearchSpace) -> np.ndarray:
    """Half the sum of squared gradients times squared errors of each gene at its lowest, ``[genes]``."""
    prepared, generator = context.prepared, torch.Generator().manual_seed(SEED)
    errors, total, images = StateErrors(prepared), dict[State, float](), 0
    for batch in pass_images(context.images("search"))[1]:
        tensors, gradients = site_gradients(prepared, batch, generator)
        with torch.inference_mode():
            for index in range(len(context.encoders)):
                for state, site, error in errors.of_encoder(index, tensors):
                    squares = (gradients[site] * error.reshape(len(batch), 1, -1)).square()
                    total[state] = total.get(state, 0.0) + float(squares.sum(dtype=torch.float64)) / 2
        images += len(batch)
    widest = np.full(len(space), len(space.widths) - 1)
    base = sum(total[state] for state in states(space.decode(widest)))
    found = []
    for gene in range(len(space)):
        genome = widest.copy()
        genome[gene] = 0
        found.append((sum(total[state] for state in states(space.decode(genome))) - base) / images)
    return np.array(found)


def report(method: str, predicted: np.ndarray, measured: np.ndarray) -> None:
    rank = float(spearmanr(predicted, measured)[0])
    ratio = predicted / np.maximum(measured, 1e-12)
    off = 100.0 * float(np.median(np.abs(ratio - 1)))
    print(f"  {method:16}  {rank:8.3f}  {off:19.0f} %  {np.median(ratio):12.2f}", flush=True)


if __name__ == "__main__":
    main()
