"""A comparison of a model's assignments at work: it searches, draws, evaluates, and writes its figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitfront.evaluators.data.source import TRAIN, ImageSource
from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.latency.source import LatencySource
from bitfront.search.engine.result import SearchResult, nothing_feasible
from bitfront.search.problem.references import FLOAT_NAME
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial
from bitfront.search.reports.model_tables import CSV, LATEX, MARKDOWN, formatted
from bitfront.search.runs.folder import RunFolder
from bitfront.search.samplers.registry import ABLATED_SAMPLER
from bitfront.search.session.comparison.assignments import LinedUp, SearchedModel
from bitfront.search.session.comparison.generations import marks_of
from bitfront.search.session.comparison.model_settings import FORM, ModelSettings
from bitfront.search.session.comparison.searches import FinishedSearch
from bitfront.search.session.comparison.shared_evaluations import SharedEvaluations
from bitfront.search.session.comparison.stochastic import equal_assignments
from bitfront.search.session.comparison.test_images import TEST_EVALUATIONS, evaluate_on_test
from bitfront.search.session.comparison_preparation import PreparedComparison, prepare_comparison
from bitfront.search.session.comparison_runs import write_run
from bitfront.search.session.inputs import eight_bit_config
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.run import Run
from bitfront.search.session.worker_pool import WorkerOptions, on_freed_processors
from bitfront.spaces import BitfrontError
from bitfront.spaces.quantities import count_of

FIGURES = "comparison.json"
# Files of the tables, by their form.
TABLES = {CSV: "tables.csv", MARKDOWN: "tables.md", LATEX: "tables.tex"}
# Beside the seed of a search: what is drawn beside it.
_DRAWING = 1


@dataclass
class ModelWork:
    """One comparison at work.

    Attributes:
        settings: What is compared; what is measured on the way becomes a part of it.
        folder: Of the comparison.
        workers: Who evaluates.
        reporter: Is told of the steps.
    """

    settings: ModelSettings
    folder: RunFolder
    workers: WorkerOptions
    reporter: Reporter

    def run(self, source: LatencySource | None) -> Mapping[str, Any]:
        """Runs what is not finished yet; returns the figures, whose files are written."""

        def settled(spec: RunSpec) -> None:
            self.settings = dataclasses.replace(self.settings, spec=spec)
            self.settings.write(self.folder.path)

        prepared = prepare_comparison(
            self.settings.spec, self.folder, self.workers, self.reporter, source, settled
        )
        if not (self.folder.path / FIGURES).exists():
            self._write(prepared, [], interrupted=True)
        generations = count_of(self.settings.generations, "generation")
        seeds = count_of(self.settings.seeds, "seed")
        told = f"searching with {ABLATED_SAMPLER}: {generations} of {self.settings.spec.population}; {seeds}"
        with prepared.searches() as shared, self.reporter.stage(told) as share_done:
            searches = shared.run(self.settings.entries, share_done)
        if not searches:
            raise KeyboardInterrupt
        interrupted = len(searches) < self.settings.seeds
        models = self._lined_up(searches, prepared)
        self._write(prepared, models, interrupted=True)
        try:
            self._evaluate_on_test(prepared, models)
        except KeyboardInterrupt:
            interrupted = True
        return self._write(prepared, models, interrupted)

    def _lined_up(
        self, searches: Sequence[FinishedSearch], prepared: PreparedComparison
    ) -> list[SearchedModel]:
        """What each search ended with, with assignments drawn beside it.

        Raises:
            BitfrontError: No search found anything within the limits.
        """
        found, tried = list[SearchedModel](), list[Trial]()
        for searched in searches:
            with self.reporter.stage(f"front and random assignments of seed {searched.entry.seed}"):
                run, result = write_run(self.folder.path, searched, prepared.ready, prepared.problem)
                tried += result.trials
                if result.front:
                    found.append(self._searched(searched, run, result))
        if not found:
            raise BitfrontError(nothing_feasible(tried, prepared.problem.limits))
        return found

    def _searched(self, searched: FinishedSearch, run: Run, result: SearchResult) -> SearchedModel:
        """The pick of a search, with assignments drawn beside it and what it had found before."""
        settings, problem, seed = self.settings, result.problem, searched.entry.seed
        assert settings.spec.population is not None, "the settings are complete"
        number = int(run.pick(settings.pick)["trial"])
        pick = next(trial for trial in result.trials if trial.number == number)
        rng = np.random.default_rng([seed, _DRAWING])
        genomes = equal_assignments(problem, pick.genome, settings.draws, rng)
        marks = marks_of(problem, searched.trials, pick, settings.spec.population, settings.generations)
        return SearchedModel(
            seed,
            run.name,
            result.progress.evaluations,
            len(result.front),
            pick,
            tuple(map(problem.prepare, genomes)),
            tuple(marks),
        )

    def _evaluate_on_test(self, prepared: PreparedComparison, models: Sequence[SearchedModel]) -> None:
        """Evaluates all that is lined up on the test images; what is known is not evaluated again."""
        context = on_freed_processors(prepared.ready.context, self.workers)
        known = self._known()
        configs = [config for model in models for config in model.configs(prepared.problem)]
        distinct = {config.digest: config for config in (eight_bit_config(context), *configs)}
        told = count_of(len(distinct), "configuration")
        images = count_of(len(context.splits.test), "image")
        with self.reporter.stage(f"test accuracy of {told} on {images}") as share_done:
            if known.get(FLOAT_NAME) is None:
                known.add(FLOAT_NAME, context.float_quality("test"))
            evaluate_on_test(list(distinct.values()), context, known, share_done)

    def _known(self) -> SharedEvaluations:
        return SharedEvaluations(self.folder.path / TEST_EVALUATIONS)

    def _write(
        self, prepared: PreparedComparison, models: Sequence[SearchedModel], interrupted: bool
    ) -> Mapping[str, Any]:
        """Writes figures and tables as far as the test images are evaluated, and returns the figures."""
        document = self._document(prepared, models, interrupted)
        self.folder.write_json(FIGURES, document)
        for form, name in TABLES.items():
            write_atomically(self.folder.path / name, formatted([document], form))
        return document

    def _document(
        self, prepared: PreparedComparison, models: Sequence[SearchedModel], interrupted: bool
    ) -> dict[str, Any]:
        ready, problem, settings = prepared.ready, prepared.problem, self.settings
        context, spec = ready.context, ready.spec
        eight = eight_bit_config(context)
        digests = {config.digest for model in models for config in model.configs(problem)}
        tested = self._known().qualities([FLOAT_NAME, eight.digest, *digests])
        lined = LinedUp(problem, context.task.counted, eight, tested)
        metric = context.task.metric(context.task.counted)
        splits = {name: len(getattr(context.splits, name)) for name in ("calibration", "search", "test")}
        return {
            "format": FORM,
            "comparison": self.folder.name,
            "interrupted": interrupted,
            **{
                name: getattr(spec.evaluation, name)
                for name in ("model", "data", "scheme", "recipe", "without")
            },
            "random_weights": settings.random_weights,
            "imagenet_validation": is_imagenet_validation(context.source),
            "metric": {"name": metric.name, "title": metric.title},
            "images": splits,
            "latency_source": problem.cost.latency_source,
            "latency_batch": ready.costs.latency_batch,
            "latency_threads": ready.costs.latency_threads,
            "sampler": ABLATED_SAMPLER,
            "population": spec.population,
            "generations": settings.generations,
            "seeds": settings.seeds,
            "draws": settings.draws,
            "pick": settings.pick,
            "constraints": list(problem.constraint_names),
            "encoders": [encoder.name for encoder in context.encoders],
            "float": lined.reference(ready.references.float_model, FLOAT_NAME),
            "eight_bit": lined.reference(ready.references.eight_bit, eight.digest),
            "searches": [lined.search(model) for model in models],
            "differences": lined.differences(models),
            "notes": list(prepared.notes),
        }


def is_imagenet_validation(source: ImageSource) -> bool:
    """Whether images that are not for calibration alone are as many as the ImageNet-1k validation images.

    These are 50 of each of 1,000 classes.
    """
    labels, partition = source.labels, source.partition
    labels = labels if partition is None else labels[partition != TRAIN]
    if labels.ndim != 1 or len(labels) != 50_000:
        return False
    return bool((np.bincount(labels, minlength=1000) == 50).all())
