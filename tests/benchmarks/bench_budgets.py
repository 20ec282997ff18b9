r"""Few evaluations of one sampler against many of another, their last fronts judged by the test images.

bitfront compare-samplers --model deit_tiny_patch16_224 --checkpoint deit_tiny.pth --data labels.csv \
    --scheme deploy --latency model:bops --search-images 256 --samplers nsga2 --seeds 3 --evaluations 600 \
    --run many
python tests/benchmarks/bench_budgets.py runs/many surrogate-nsga2:40:9 surrogate-nsga2:120 nsga2:600

A budget is a sampler, its evaluations, and its number of seeds where that is not the comparison's. Goes on
with a comparison: its searches and evaluations are taken over, further ones are kept in its folder.
Hypervolumes are shares of that of all last fronts together, by the test images, which no search has used;
they are printed by seed, and as ratios to the last sampler that is named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from bitfront.evaluators.context.machine import available_cpus
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.runs.folder import RunFolder
from bitfront.search.session.comparison.document import tight_box
from bitfront.search.session.comparison.searches import PlannedSearch, SharedSearches
from bitfront.search.session.comparison.settings import ComparisonSettings
from bitfront.search.session.comparison.shared_evaluations import SharedEvaluations
from bitfront.search.session.comparison.test_images import TEST_EVALUATIONS, TestImages
from bitfront.search.session.comparison_preparation import PREPARED
from bitfront.search.session.inputs import prepare_run
from bitfront.search.session.reporter import reporter_of
from bitfront.search.session.worker_pool import WorkerOptions, start_workers
from bitfront.spaces import BitfrontError


def main() -> int:
    parser = argparse.ArgumentParser(description="Few evaluations of one sampler against many of another")
    parser.add_argument("comparison", type=Path, help="folder of a comparison")
    parser.add_argument("budgets", nargs="+", metavar="SAMPLER:EVALUATIONS[:SEEDS]")
    parser.add_argument("--workers", type=int, default=available_cpus())
    options = parser.parse_args()
    settings, reporter = ComparisonSettings.read(options.comparison), reporter_of(None)
    budgets = [_planned(text, settings.spec.seed, settings.seeds) for text in options.budgets]
    prepared, names = RunFolder(options.comparison / PREPARED), [budget[0].sampler for budget in budgets]
    ready = prepare_run(settings.spec, prepared, reporter.stage, None, print, names)
    problem = SearchProblem.from_spec(ready.spec, ready.space, ready.costs, ready.references)
    planned = [search for budget in reversed(budgets) for search in budget]
    pool = start_workers(WorkerOptions(workers=options.workers), ready.spec, ready.context)
    try:
        shared = SharedSearches(problem, pool, options.comparison, ready.scores)
        with reporter.stage(f"{len(planned)} searches") as share_done:
            searches = shared.run(planned, share_done)
    finally:
        pool.close()
    fronts = {s.entry: judging_archive(problem, [t for t in s.trials if t.paid]).front for s in searches}
    trials = {trial.digest: trial for front in fronts.values() for trial in front}
    known, qualities = SharedEvaluations(options.comparison / TEST_EVALUATIONS), {}
    images = len(ready.context.splits.test)
    with reporter.stage(f"{len(trials)} configurations on {images} test images") as share_done:
        for done, trial in enumerate(trials.values(), start=1):
            if (found := known.get(trial.digest)) is None:
                config = problem.space.decode(np.array(trial.genome, dtype=np.int64))
                try:
                    found = ready.context.quality(config, "test")
                except BitfrontError as error:
                    found = EvaluationFailure.of(error)
                known.add(trial.digest, found)
            if not isinstance(found, EvaluationFailure):
                qualities[trial.digest] = found
            share_done(done / len(trials))
    whole = ready.context.float_quality("test")
    judged = TestImages(qualities, whole, ready.references.float_model.values)
    points = {entry: judged.points(problem, front) for entry, front in fronts.items()}
    everything = [point for found in points.values() for point in found]
    box = tight_box(problem, everything) or problem.box
    total = box.share(everything)
    shares = {entry: box.share(found) / total for entry, found in points.items()}
    print(f"\nhypervolume of last fronts on {whole.images} test images, share of all fronts together")
    last = np.median([shares[search] for search in budgets[-1]])
    for budget in budgets:
        found = [shares[search] for search in budget]
        by_seed = ", ".join(f"{shares[search]:.4f} ({len(points[search])} points)" for search in budget)
        middle, name, count = np.median(found), budget[0].sampler, budget[0].evaluations
        print(f"{name:16} {count:5} evaluations: median {middle:.4f}, {middle / last:.3f}x; {by_seed}")
    return 0


def _planned(text: str, first: int, usual: int) -> list[PlannedSearch]:
    """The searches of a budget, from the first seed on."""
    name, count, *seeds = text.split(":")
    return [PlannedSearch(name, first + k, int(count)) for k in range(int(seeds[0]) if seeds else usual)]


if __name__ == "__main__":
    sys.exit(main())
