"""The session of one search: it prepares, searches, measures the front and writes the run folder."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING

from bitfront.evaluators.context.machine import describe_environment
from bitfront.search.engine.result import INTERRUPTED
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem import wording
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.runs.folder import RunFolder, write_space
from bitfront.search.runs.locks import study_lock
from bitfront.search.runs.storage import JOURNAL, has_study, without_password
from bitfront.search.samplers.registry import default_evaluations
from bitfront.search.session.inputs import RunInputs, prepare_run
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.run import Run, open_run
from bitfront.search.session.worker_pool import WorkerOptions, one_thread_each, start_workers

if TYPE_CHECKING:
    from torch import nn

    from bitfront.evaluators.data.given_images import LabelledImages
    from bitfront.evaluators.latency.source import LatencySource
    from bitfront.search.engine.result import SearchResult
    from bitfront.search.problem.problem import SearchProblem
    from bitfront.search.runs.tables import RunTables

logger = logging.getLogger(__name__)

# Says where the study is, where it is not in the run folder.
STORAGE_NOTE = "storage.json"


class SearchSession:
    """One search in its run folder: prepare, search, measure the front, write.

    Args:
        spec: The run's settings, complete but for the evaluations that suit the space.
        folder: Its folder.
        options: Who evaluates.
        storage: URL of a database for the study; None for the run folder.
        reporter: Is told of the steps.
        model: A model in memory, in place of the spec's.
        data: Images and labels in memory, in place of the spec's.
        source: The latency source of a new run; that of a resumed one is found in its folder.
        resumed: Whether an earlier part of the run is gone on with.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunFolder,
        options: WorkerOptions,
        storage: str | None,
        reporter: Reporter,
        *,
        model: nn.Module | None = None,
        data: LabelledImages | None = None,
        source: LatencySource | None = None,
        resumed: bool = False,
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._options = options
        self._storage = storage
        self._reporter = reporter
        self._model = model
        self._data = data
        self._source = source
        self._resumed = resumed

    def run(self) -> Run:
        """Searches with the run folder and its study locked, and opens the run."""
        folder, reporter = self._folder, self._reporter
        kept = folder.resumable(f"bitfront search --resume {folder.name}", new=not self._resumed)
        with folder.lock(), kept, folder.log_file():
            if self._model is not None or self._data is not None:
                self._write_given()
            folder.write_spec(self._spec)
            reporter.note(f"run {folder.name} in {folder.path}")
            if self._options.share_the_machine:
                self._spec = one_thread_each(self._spec)
            with study_lock(self._storage, folder.name):
                result = self._search()
        found = open_run(folder.name, runs_dir=folder.path.parent)
        return dataclasses.replace(found, interrupted=result.reason == INTERRUPTED)

    def _write_given(self) -> None:
        """Writes a model and a data set in memory as files of the run folder, which the spec then names."""
        from bitfront.search.session.given_inputs import write_given

        path, evaluation = self._folder.path, self._spec.evaluation
        with self._reporter.stage("writing the model and the images into the run folder") as share_done:
            evaluation = write_given(path, evaluation, self._model, self._data, share_done)
        self._spec = dataclasses.replace(self._spec, evaluation=evaluation)

    def _search(self) -> SearchResult:
        """Runs everything and leaves a complete run folder."""
        from bitfront.search.problem.problem import SearchProblem
        from bitfront.search.runs.tables import RunTables

        ready = prepare_run(self._spec, self._folder, self._reporter.stage, self._source)
        self._spec = ready.spec
        if ready.spec.evaluations is None:
            number = default_evaluations(ready.spec.sampler, ready.space)
            self._spec = dataclasses.replace(ready.spec, evaluations=number)
            self._folder.write_spec(self._spec)
        evaluator = ready.context.describe()
        self._folder.write_json("environment.json", {**describe_environment(), **evaluator})
        self._reporter.note(f"evaluating in {wording.evaluator(evaluator)}")
        for note in [*ready.notes, *evaluator["kernel_notes"]]:
            self._reporter.note(f"note: {note}")
        problem = SearchProblem.from_spec(self._spec, ready.space, ready.costs, ready.references)
        self._folder.write_json("references.json", ready.references.to_json())
        write_space(self._folder.path, ready.space)
        tables = RunTables(self._folder, problem)
        result = self._run_engine(problem, tables, ready)
        self._write_summary(result, ready)
        self._draw()
        if result.front and result.reason != INTERRUPTED:
            try:
                self._measure_front(result, ready, tables)
            except KeyboardInterrupt:
                return dataclasses.replace(result, reason=INTERRUPTED)
            self._draw()
        return result

    def _run_engine(self, problem: SearchProblem, tables: RunTables, ready: RunInputs) -> SearchResult:
        from bitfront.search.engine.engine import SearchEngine
        from bitfront.search.runs.study import StudyRecord
        from bitfront.search.runs.tables import FolderWriter
        from bitfront.search.samplers.registry import make_sampler

        spec, folder, storage = self._spec, self._folder, self._storage
        assert spec.evaluations is not None, "the spec is complete"
        sampler = make_sampler(spec.sampler, problem, spec.population, spec.seed, ready.scores)
        known = self._resumed and _has_study(folder, storage)
        begin = StudyRecord.open if known else StudyRecord.create
        started = self._reporter.stage(f"starting workers: {self._options.words}")
        with started if self._options.workers != 0 else nullcontext():
            pool = start_workers(self._options, spec, ready.context)
        try:
            record = begin(folder.path, folder.name, spec, problem, storage)
            if storage is not None:
                folder.write_json(STORAGE_NOTE, {"url": without_password(storage)})
            with self._reporter.search(spec.evaluations) as display:
                budget = Budget(spec.evaluations, spec.time_budget, record.elapsed_s, plateau=spec.plateau)
                observers = (display, FolderWriter(tables, record))
                return SearchEngine(problem, sampler, pool, record, budget, observers).run()
        finally:
            pool.close()

    def _measure_front(self, result: SearchResult, ready: RunInputs, tables: RunTables) -> None:
        from bitfront.search.session.final_measurements import (
            completed_references,
            final_measurements,
            held_out_accuracies,
            whole_latencies,
        )

        points, stage = f"{len(result.front)} front points", self._reporter.stage
        with stage(f"test accuracy of {points} on {len(ready.context.splits.test)} images") as share:
            accuracies, failures = held_out_accuracies(ready.context, ready.space, result.front, share)
        tables.write(result.trials, result.front, final_measurements(accuracies, {}))
        self._write_summary(result, ready, failures)
        batch, timer = ready.costs.latency_batch, ready.timer
        with stage(f"whole-model latency of {points} ({timer.source}), batch {batch}") as share:
            latency, float_ms, eight_bit_ms = whole_latencies(
                ready.context, timer, ready.space, result.front, batch, share
            )
        tables.write(result.trials, result.front, final_measurements(accuracies, latency))
        references = completed_references(ready.context, ready.references, float_ms, eight_bit_ms)
        self._folder.write_json("references.json", references.to_json())

    def _write_summary(
        self, result: SearchResult, ready: RunInputs, test_failures: Mapping[int, str] | None = None
    ) -> None:
        document = {
            **result.to_json(),
            **{name: getattr(self._spec.evaluation, name) for name in ("scheme", "recipe", "without")},
            "latency_batch": ready.costs.latency_batch,
            "latency_note": "; ".join(ready.notes),
            "latency_measured_source": ready.timer.source,
            "skipped_images": ready.context.skipped_images(),
            "test_failures": {str(number): error for number, error in (test_failures or {}).items()},
        }
        self._folder.write_json("summary.json", document)

    def _draw(self) -> None:
        """Draws the run; a plot that fails is told and costs nothing else."""
        from bitfront.search.reports.plots.run_plots import write_plots

        try:
            with self._reporter.stage("drawing plots"):
                write_plots(open_run(self._folder.name, runs_dir=self._folder.path.parent))
        except Exception as error:
            logger.info("the plots could not be drawn", exc_info=True)
            reason = EvaluationFailure.of(error).message
            self._reporter.note(
                f"warning: the plots could not be drawn ({reason}): draw them with `bitfront plot "
                f"{self._folder.name}`"
            )


def _has_study(folder: RunFolder, storage: str | None) -> bool:
    """Whether the run got as far as its study."""
    if storage is None:
        return (folder.path / JOURNAL).exists()
    # The note is written after the study: the process may have been killed in between.
    return (folder.path / STORAGE_NOTE).exists() or has_study(storage, folder.name)
