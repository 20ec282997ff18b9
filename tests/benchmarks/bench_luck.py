"""What fronts are worth on images that were not searched with: estimates against counts.

python tests/benchmarks/bench_luck.py --model deit_tiny_patch16_224 --checkpoint F --data D --cache FOLDER

Every configuration is evaluated once on all images that do not calibrate, and kept in the folder by its
digest. Whatever is split off to search with, the other images then judge; as often as wanted, at no cost.

1. Random configurations, half of them with all genes mixed, half with mixed weights alone (A8T8), at 128,
   256 and 512 search images over 60 splits: rank correlation of the estimate, of the counted share, of KL and
   of agreement with the difference to float on the other images; the optimism of the best five; and how often
   the narrowest configuration within a limit of so many points holds it on the other images.
2. Searches of 256 images with several seeds, each with a split of its own, by estimates and by counts: the
   mean optimism of front points, the hypervolume of the front as the other images see it, and its limits.

Optimism is the difference to the float model on the search images (estimated or counted) less that on the
others, in points. ``--evaluations`` and ``--seeds`` shorten it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from subject import parser_for, spec_of

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.latency.costs import ModelCosts
from bitfront.evaluators.latency.source import latency_source
from bitfront.evaluators.latency.table import TableLatency
from bitfront.evaluators.latency.timed_runtime import Subject
from bitfront.evaluators.sensitivity.gene_scores import gene_scores
from bitfront.evaluators.tasks.quality import Quality, packed
from bitfront.search.engine.engine import SearchEngine
from bitfront.search.engine.protocols import InlinePool
from bitfront.search.engine.stopping import Budget
from bitfront.search.estimation.estimates import (
    Estimator,
    Measurements,
    estimate_differences,
    judging_archive,
)
from bitfront.search.problem.hypervolume import HypervolumeBox
from bitfront.search.problem.limits import Limit
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import EIGHT_BIT_NAME, FLOAT_NAME, Reference, References
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.study import StudyRecord
from bitfront.search.samplers.known_scores import KnownScores
from bitfront.search.samplers.registry import make_sampler
from bitfront.search.session.inputs import eight_bit_config
from bitfront.spaces import BitConfig, SearchSpace, triples

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
SIZES, SPLITS = (128, 256, 512), 60
RANDOM = 120
DROPS = (0.5, 1.0, 1.5, 2.0, 3.0)
SEARCHED = 256
# The hypervolume's box in quality: points below the float model.
WORST_DROP = 15.0


class Outcomes(NamedTuple):
    """What a configuration makes of every image, float64 ``[images]`` each; shares as 0 or 1."""

    right: Floats
    top5: Floats
    loss: Floats
    kl: Floats
    agreement: Floats
    expected: Floats


class Bank:
    """Outcomes of configurations on all images that do not calibrate, each evaluated once.

    Args:
        context: The prepared model.
        folder: Where outcomes are kept by digest.
    """

    def __init__(self, context: EvaluationContext, folder: Path) -> None:
        self.context, self._folder = context, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Outcomes] = {}
        self.whole = self._outcomes(None)
        self.images = len(self.whole.right)

    def of(self, config: BitConfig) -> Outcomes:
        """The outcomes of a configuration."""
        if config.digest not in self._known:
            path = self._folder / f"{config.digest}.npy"
            if not path.exists():
                np.save(path, np.stack(self._outcomes(config)))
            self._known[config.digest] = Outcomes(*np.load(path))
        return self._known[config.digest]

    def _outcomes(self, config: BitConfig | None) -> Outcomes:
        task, parts = self.context.task, []
        for split in ("search", "test"):
            whole = self.context.float_logits(split)
            logits = whole if config is None else self.context.logits(config, split)
            known = task.arithmetic.outputs(self.context.outputs(logits, split))
            values = {m.name: m.values_per_image(known) for m in task.measured()}
            temperature = self.context.float_temperature()
            expected = task.arithmetic.expected_right(known.values, known.reference, temperature)
            found = [values[name] / 100.0 for name in ("top1", "top5")]
            found += [values["loss"], values["kl"], values["agreement"] / 100.0, expected]
            parts.append(np.stack([part.double().numpy() for part in found]))
        return Outcomes(*np.concatenate(parts, axis=1))

    def quality(self, outcomes: Outcomes, images: Indices) -> Quality:
        """What a configuration is worth on some images."""
        right, whole = outcomes.right[images], self.whole.right[images]
        means = {name: float(getattr(outcomes, name)[images].mean()) for name in Outcomes._fields}
        values = {name: 100.0 * means[name] for name in ("top5", "agreement")}
        values |= {"top1": 100.0 * means["right"], "loss": means["loss"], "kl": max(0.0, means["kl"])}
        return Quality(
            len(images),
            values,
            int((whole > right).sum()),
            int((right > whole).sum()),
            0.0,
            packed(right > 0.5),
            100.0 * float((outcomes.expected - self.whole.expected)[images].mean()),
        )

    def difference(self, outcomes: Outcomes, images: Indices) -> float:
        """To the float model in the share decided right, in points."""
        return 100.0 * float((outcomes.right - self.whole.right)[images].mean())


def random_configs(space: SearchSpace) -> list[BitConfig]:
    """Half of them mix all genes, the other half (every second) the weights alone."""
    rng = np.random.default_rng(1)
    widest = len(space.widths) - 1
    found = []
    for number in range(RANDOM):
        share, genome = rng.random(), np.full(len(space), widest)
        for gene, name in enumerate(space.gene_names):
            if number % 2 == 0 or name.endswith("weights"):
                genome[gene] = widest * int(rng.random() < share)
        found.append(space.decode(genome))
    return found


def measurements(bank: Bank, found: Sequence[Quality]) -> Measurements:
    """Qualities on the same images as columns."""
    columns = {
        name: np.array([quality.figures()[name] for quality in found], dtype=np.float64)
        for name in ("kl", "images", "lost", "won")
    }
    columns["expected_difference"] = np.array([quality.expected_difference for quality in found])
    return Measurements.of(columns, "kl")


def report_estimates(bank: Bank, configs: Sequence[BitConfig], title: str) -> None:
    """Rank correlations, optimism and limits over random splits."""
    outcomes = [bank.of(config) for config in configs]
    print(f"\n{title}: {len(configs)} configurations, {SPLITS} splits of {bank.images} images")
    print("        rank correlation                     | optimism of the best 5   |")
    print("images  estimate  counted  KL     agreement | estimate        counted  | limits hold")
    for size in SIZES:
        rng, rows = np.random.default_rng(0), []
        for _ in range(SPLITS):
            order = rng.permutation(bank.images)
            search, other = order[:size], order[size:]
            seen = measurements(bank, [bank.quality(one, search) for one in outcomes])
            truth = np.array([bank.difference(one, other) for one in outcomes])
            agreement = np.array([one.agreement[search].mean() for one in outcomes])
            found = estimate_differences(seen, 100.0 * float(bank.whole.right[search].mean()))
            ranks = [
                spearmanr(values, truth).statistic
                for values in (found.mean, seen.difference, -seen.divergence, agreement)
            ]
            best = [np.argsort(-values)[:5] for values in (found.mean, seen.difference)]
            luck = [
                float((values[top] - truth[top]).mean())
                for values, top in zip((found.mean, seen.difference), best, strict=True)
            ]
            error = np.sqrt(found.error**2 + found.noise**2 / len(other))
            surely = found.mean - 0.8416 * error
            held = [
                truth[within[np.argmax(seen.divergence[within])]] >= -drop
                for drop in DROPS
                if len(within := np.flatnonzero(surely >= -drop))
            ]
            rows.append([*ranks, *luck, np.mean(held) if held else math.nan])
        mean = np.nanmean(rows, axis=0)
        print(
            f"{size:6d}  {mean[0]:8.2f}  {mean[1]:7.2f}  {mean[2]:5.2f}  {mean[3]:9.2f} | "
            f"{mean[4]:8.2f}        {mean[5]:7.2f}  | {100 * mean[6]:.0f} %",
            flush=True,
        )


class Split(NamedTuple):
    """Positions of the images that are searched with, and of the others."""

    search: Indices
    other: Indices


class Setting(NamedTuple):
    """What all searches share."""

    bank: Bank
    space: SearchSpace
    costs: ModelCosts
    evaluations: int


def problem_of(setting: Setting, split: Split, by_counts: bool) -> SearchProblem:
    """A search of the images of a split; one by counts does not know the float model's share."""
    bank, costs = setting.bank, setting.costs
    eight = eight_bit_config(bank.context)
    whole, quantized = (bank.quality(one, split.search) for one in (bank.whole, bank.of(eight)))
    base = Reference(
        FLOAT_NAME,
        costs.float_latency_ms,
        costs.float_size_bytes,
        whole.values,
        classes=bank.context.model.classes,
        images=whole.images,
        test_images=len(split.other),
        right=whole.right,
    )
    narrow = dataclasses.replace(
        base,
        name=EIGHT_BIT_NAME,
        latency_ms=costs.latency_ms(eight),
        size_bytes=costs.size_bytes(eight),
        values=quantized.values,
    )
    spec = RunSpec(evaluation=bank.context.spec, latency="model:bops")
    problem = SearchProblem.from_spec(spec, setting.space, costs, References(base, narrow))
    return dataclasses.replace(problem, float_counted=None) if by_counts else problem


def searched(
    setting: Setting, problem: SearchProblem, split: Split, seed: int, sampler: str, scores
) -> list[Trial]:
    """The evaluated trials of one search."""
    bank = setting.bank
    result = SearchEngine(
        problem,
        make_sampler(sampler, problem, None, seed, scores),
        InlinePool(lambda config, _: bank.quality(bank.of(config), split.search)),
        StudyRecord.in_memory(problem),
        Budget(setting.evaluations),
    ).run()
    return [trial for trial in result.trials if trial.paid]


def judged_by_others(
    setting: Setting, problem: SearchProblem, split: Split, trials: Sequence[Trial]
) -> list[float]:
    """Points, optimism, hypervolume on the other images, and the shares of limits that hold there."""
    bank = setting.bank
    whole = problem.float_counted or 100.0 * float(bank.whole.right[split.search].mean())

    def other(trial: Trial) -> float:
        return bank.difference(bank.of(setting.space.decode(np.array(trial.genome))), split.other)

    quality = problem.objectives[0]
    front = judging_archive(problem, trials).front
    luck = [quality.deciding(trial.values) - whole - other(trial) for trial in front]
    box = HypervolumeBox(
        problem.box.objectives, (0.0, *problem.box.ideal[1:]), (WORST_DROP, *problem.box.reference[1:])
    )
    seen = [(-other(t), t.values["latency_ms"], t.values["size_bytes"]) for t in front]
    stars, points = [], []
    for drop in DROPS:
        limit = Limit("max_drop", "top1", "at least", whole - drop, f"--max-drop {drop:g}", relative=True)
        bounded = dataclasses.replace(problem, limits=(*problem.limits, limit))
        judged = Estimator.of(bounded, trials).judged(trials)
        held = [trial for trial in judged if limit.violation(trial.values) <= 0.0]
        allowed = judging_archive(problem, held).front
        if allowed:
            smallest = min(allowed, key=lambda trial: trial.values["size_bytes"])
            stars.append(other(smallest) >= -drop)
            points += [other(trial) >= -drop for trial in allowed]
    return [len(front), float(np.mean(luck)), box.share(seen), float(np.mean(stars)), float(np.mean(points))]


def report_searches(setting: Setting, seeds: int) -> None:
    """Both ways with every seed, and medians with quartiles."""
    scores = KnownScores(gene_scores(setting.bank.context, setting.space))
    print(
        f"\nsearches: {setting.evaluations} evaluations on {SEARCHED} images, judged on the other "
        f"{setting.bank.images - SEARCHED}; {len(setting.space)} genes, model:bops, limits {DROPS} points"
    )
    print("seed  by         points  optimism  hypervolume  smallest within limits  front within limits")
    rows: dict[str, list[list[float]]] = {"estimates": [], "counts": []}
    for seed in range(seeds):
        order = np.random.default_rng(100 + seed).permutation(setting.bank.images)
        split = Split(np.sort(order[:SEARCHED]), np.sort(order[SEARCHED:]))
        for way, found in rows.items():
            problem = problem_of(setting, split, by_counts=way == "counts")
            trials = searched(setting, problem, split, seed, "surrogate-nsga2", scores)
            found.append(judged_by_others(setting, problem, split, trials))
            print(line(str(seed), way, found[-1]), flush=True)
    for name, share in (("q1", 25), ("med", 50), ("q3", 75)):
        for way, found in rows.items():
            print(line(name, way, np.percentile(found, share, axis=0).tolist()))
    for way, found in rows.items():
        print(line("mean", way, np.mean(found, axis=0).tolist()))


def line(seed: str, way: str, row: Sequence[float]) -> str:
    points, luck, volume, stars, kept = row
    return (
        f"{seed:4s}  {way:9s}  {points:6.0f}  {luck:8.2f}  {volume:11.4f}  {100 * stars:20.0f} %  "
        f"{100 * kept:17.0f} %"
    )


def main() -> None:
    parser = parser_for("Fronts on images that were not searched with")
    parser.set_defaults(calibration_images=128)
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps outcomes by digest")
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=("estimates", "searches"))
    options: argparse.Namespace = parser.parse_args()
    with spec_of(options, "deploy", batch_size=options.batch_size) as spec:
        context = EvaluationContext.from_spec(dataclasses.replace(spec, search_images=SEARCHED))
    bank = Bank(context, options.cache)
    space = SearchSpace(context.spec.model, "deploy", context.encoders, context.spec.widths, "encoder-kind")
    whole = 100.0 * float(bank.whole.right.mean())
    print(f"{context.spec.model}, deploy, recipe best: {bank.images} images, float top-1 {whole:.1f} %")
    if options.only != "searches":
        configs = random_configs(space)
        report_estimates(bank, configs[::2], "all genes mixed")
        report_estimates(bank, configs[1::2], "weights mixed (A8T8)")
    if options.only != "estimates":
        table = latency_source("model:bops", "deploy").table(
            Subject(context.prepared, context.model.module), 1
        )
        needed = {*triples(context.spec.widths), (8, 8, 8)}
        costs = ModelCosts(TableLatency(table, context.prepared.blueprint, needed), context.size)
        report_searches(Setting(bank, space, costs, options.evaluations), options.seeds)


if __name__ == "__main__":
    main()
