"""The session of one search: it prepares, searches, measures the front and writes the run folder."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bitfront.evaluators.context.machine import describe_environment
from bitfront.evaluators.deployment.registry import exports_of
from bitfront.evaluators.latency.registry import load_in_words
from bitfront.search.engine.result import INTERRUPTED
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem import wording
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.runs.columns import Schema
from bitfront.search.runs.files import TRIALS
from bitfront.search.runs.folder import RunFolder, write_space
from bitfront.search.runs.journal import JOURNAL
from bitfront.search.runs.locks import study_lock
from bitfront.search.runs.names import run_command
from bitfront.search.runs.storage import has_study, note_storage, open_storage, recorded_url, resume_command
from bitfront.search.samplers.registry import default_evaluations
from bitfront.search.session.begin_from import Beginning, genes_that_pay
from bitfront.search.session.inputs import RunInputs, prepare_run
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.run import Run, open_run
from bitfront.search.session.shared_evaluations import kept_evaluations, known_words, sharing_pool
from bitfront.search.session.worker_pool import (
    WorkerOptions,
    note_options,
    on_freed_processors,
    one_thread_each,
    start_workers,
)
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from torch import nn

    from bitfront.evaluators.data.given_images import LabelledImages
    from bitfront.evaluators.latency.source import LatencySource
    from bitfront.search.engine.protocols import AccuracyPool
    from bitfront.search.engine.result import SearchResult
    from bitfront.search.problem.problem import SearchProblem
    from bitfront.search.runs.tables import RunTables

logger = logging.getLogger(__name__)


@dataclass
class SearchSession:
    """One search in its run folder: prepare, search, measure the front, write.

    Attributes:
        spec: The run's settings, complete but for the evaluations that suit the space.
        folder: Its folder.
        options: Who evaluates.
        storage: URL of a database for the study; None for the run folder.
        reporter: Is told of the steps.
        model: A model in memory, in place of the spec's.
        images: Images and labels in memory, by the field of the spec that they stand for, such as ``data``.
        source: The latency source of a new run; that of a resumed one is found in its folder.
        resumed: Whether an earlier part of the run is gone on with.
        further: Evaluations beyond those that the run begins with; None for as many as suit the space.
    """

    spec: RunSpec
    folder: RunFolder
    options: WorkerOptions
    storage: str | None
    reporter: Reporter
    model: nn.Module | None = None
    images: Mapping[str, LabelledImages] = field(default_factory=dict)
    source: LatencySource | None = None
    resumed: bool = False
    further: int | None = None

    def run(self, given: WorkerOptions | None = None) -> Run:
        """Searches with the run folder and its study locked, and opens the run.

        Args:
            given: What was said of who evaluates, for a part of the run that comes later.
        """
        folder, reporter = self.folder, self.reporter
        kept = folder.resumable(lambda: resume_command(folder.path), new=not self.resumed)
        with folder.lock(), kept, folder.log_file():
            if self.model is not None or self.images:
                self._write_given()
            folder.write_spec(self.spec)
            if given is not None:
                note_options(folder, given)
            reporter.note(f"run {folder.name} in {folder.path}")
            if self.options.share_the_machine:
                self.spec = one_thread_each(self.spec)
            with study_lock(self.storage, folder.name):
                self._check_storage()
                result = self._search()
        found = open_run(folder.name, runs_dir=folder.path.parent)
        return dataclasses.replace(found, interrupted=result.reason == INTERRUPTED)

    def _check_storage(self) -> None:
        """Finds out before anything is prepared whether the study can be begun, or gone on with.

        Raises:
            UserError: A database has a study of this name already, or the journal is damaged.
        """
        folder, url = self.folder, self.storage
        if url is None:
            if self.resumed:
                open_storage(folder.path, None)
            return
        if not self.resumed and has_study(url, folder.name):
            raise UserError(
                f"the storage has a study {folder.name!r} already, which another run folder may go on with: "
                "choose another --run"
            )
        note_storage(folder.path, url)
        self.reporter.note(f"the study is in {recorded_url(url)}")

    def _write_given(self) -> None:
        """Writes a model and a data set in memory as files of the run folder, which the spec then names."""
        from bitfront.search.session.given_inputs import write_given

        path, evaluation = self.folder.path, self.spec.evaluation
        with self.reporter.stage("writing the model and the images into the run folder") as share_done:
            evaluation = write_given(path, evaluation, self.model, share_done=share_done, **self.images)
        self.spec = dataclasses.replace(self.spec, evaluation=evaluation)

    def _search(self) -> SearchResult:
        """Runs everything and leaves a complete run folder."""
        from bitfront.search.problem.problem import SearchProblem
        from bitfront.search.runs.tables import RunTables

        scheme = self.spec.evaluation.scheme
        self.reporter.note(f"scheme {scheme}: points can be exported as {exports_of(scheme)}")
        ready = prepare_run(self.spec, self.folder, self.reporter.stage, self.source, self.reporter.note)
        self.spec = ready.spec
        images = len(ready.context.splits.search)
        beginning = Beginning.of(self.folder, ready.spec, ready.space, images)
        problem = SearchProblem.from_spec(self.spec, ready.space, ready.costs, ready.references)
        if ready.spec.evaluations is None:
            number = self.further or default_evaluations(ready.spec.sampler, ready.space)
            self.spec = dataclasses.replace(ready.spec, evaluations=beginning.paid(problem) + number)
            self.folder.write_spec(self.spec)
        evaluator = ready.context.describe()
        self.folder.write_json("environment.json", {**describe_environment(), **evaluator})
        self.reporter.note(f"evaluating in {wording.evaluator(evaluator)}")
        kept = [ready.kept_note] if ready.kept_note else []
        if self.spec.begun_from and not self.resumed:
            origin = RunFolder(self.folder.path.parent / self.spec.begun_from)
            kept += genes_that_pay(ready.space, origin)
        for note in [*ready.notes, *kept, *evaluator["kernel_notes"]]:
            self.reporter.note(f"note: {note}")
        for note in [*ready.told(), *beginning.told(problem)]:
            self.reporter.note(note)
        self.folder.write_json("references.json", ready.references.to_json())
        write_space(self.folder.path, ready.space)
        tables = RunTables(self.folder, problem)
        result = self._run_engine(problem, tables, ready, beginning)
        stands_for = write_result(self.folder, self.spec, result, ready, tables)
        self._draw()
        if result.front and result.reason != INTERRUPTED:
            try:
                self._measure_front(result, ready, tables, stands_for)
            except KeyboardInterrupt:
                return dataclasses.replace(result, reason=INTERRUPTED)
            self._draw()
        return result

    def _run_engine(
        self, problem: SearchProblem, tables: RunTables, ready: RunInputs, beginning: Beginning
    ) -> SearchResult:
        from bitfront.search.engine.engine import SearchEngine
        from bitfront.search.engine.known_pool import KnownPool
        from bitfront.search.runs.progress_file import ProgressWriter
        from bitfront.search.runs.study import StudyRecord
        from bitfront.search.runs.tables import FolderWriter
        from bitfront.search.samplers.registry import make_sampler

        spec, folder, storage = self.spec, self.folder, self.storage
        assert spec.evaluations is not None, "the spec is complete"
        sampler = make_sampler(spec.sampler, problem, spec.population, spec.seed, ready.scores)
        known = self.resumed and _has_study(folder, storage)
        begin = StudyRecord.open if known else StudyRecord.create
        started = self.reporter.stage(f"starting workers: {self.options.words}")
        with started if self.options.workers != 0 else nullcontext():
            pool = start_workers(self.options, spec, ready.context)
        try:
            record = begin(folder.path, folder.name, spec, problem, storage)
            with self.reporter.search(spec.evaluations) as display:
                budget = Budget(spec.evaluations, spec.time_budget, record.elapsed_s, plateau=spec.plateau)
                told = ProgressWriter(folder)
                observers = (display, FolderWriter(tables, record), told)
                qualities = {known.config.digest: known.quality for known in beginning.known}
                asked = self._sharing(pool, ready)
                asked = KnownPool(asked, qualities, len(ready.context.splits.search)) if qualities else asked
                engine = SearchEngine(problem, sampler, asked, record, budget, observers, beginning.batches)
                result = engine.run()
                told.write(result.progress)
                if told_known := known_words(result):
                    self.reporter.note(told_known)
                return result
        finally:
            pool.close()

    def _sharing(self, pool: AccuracyPool, ready: RunInputs) -> AccuracyPool:
        """The pool behind the evaluations that the cache has of earlier runs, where they are shared."""
        kept = kept_evaluations(ready.context, "search", self.options, self.reporter.note)
        whole = ready.references.float_model
        return pool if kept is None else sharing_pool(pool, kept, ready.context.spec, whole.right)

    def _measure_front(
        self, result: SearchResult, ready: RunInputs, tables: RunTables, stands_for: Mapping[int, int]
    ) -> None:
        from bitfront.evaluators.latency.table import MOST_SUM_ERROR
        from bitfront.search.runs.right_images import write_right_images
        from bitfront.search.session.final_measurements import (
            completed_references,
            final_measurements,
            held_out_qualities,
            whole_latencies,
        )

        points, stage = count_of(len(result.front), "front point"), self.reporter.stage
        schema = Schema(ready.context.task, self.spec.objectives)
        images = count_of(len(ready.context.splits.test), "image")
        context = on_freed_processors(ready.context, self.options)
        with stage(f"test accuracy of {points} on {images}") as share:
            kept = kept_evaluations(context, "test", self.options, self.reporter.note)
            tested, failures = held_out_qualities(
                context, ready.space, result.front, schema.quality, share, kept
            )
        tables.write(result.trials, result.front, final_measurements(tested, {}, stands_for))
        self._write_summary(result, ready, failures)
        batch, timer = ready.costs.latency_batch, ready.timer
        of = load_in_words(batch, timer.threads)
        with stage(f"whole-model latency of {points} ({timer.source}), {of}") as share:
            latency = whole_latencies(context, timer, ready.space, result.front, batch, share)
        if latency.noise > MOST_SUM_ERROR:
            self.reporter.note(
                f"WARNING: whole models were timed to {latency.noise:.0%} only, as where other work runs on "
                "the machine"
            )
        tables.write(result.trials, result.front, final_measurements(tested, latency.by_trial, stands_for))
        references = completed_references(
            context, ready.references, latency.float_ms, latency.eight_bit_ms, kept
        )
        self.folder.write_json("references.json", references.to_json())
        write_right_images(self.folder, references, result.trials, final_measurements(tested, {}))

    def _write_summary(
        self, result: SearchResult, ready: RunInputs, test_failures: Mapping[int, str] | None = None
    ) -> None:
        write_summary(self.folder, self.spec, result, ready, test_failures)

    def _draw(self) -> None:
        """Draws the run; a plot that fails is told and costs nothing else."""
        from bitfront.search.reports.plots.run_plots import write_plots

        try:
            with self.reporter.stage("drawing plots"):
                write_plots(open_run(self.folder.name, runs_dir=self.folder.path.parent))
        except Exception as error:
            logger.info("the plots could not be drawn", exc_info=True)
            reason = EvaluationFailure.of(error).message
            self.reporter.note(
                f"warning: the plots could not be drawn ({reason}): draw them with "
                f"`{run_command(self.folder.path, 'plot', self.folder.name)}`"
            )


def write_summary(
    folder: RunFolder,
    spec: RunSpec,
    result: SearchResult,
    ready: RunInputs,
    test_failures: Mapping[int, str] | None = None,
) -> None:
    """Writes ``summary.json``.

    Args:
        folder: The run's.
        spec: Its settings.
        result: How the search ended.
        ready: What it searched on.
        test_failures: Why points of the front could not be evaluated on the test split, by trial.
    """
    document = {
        **result.to_json(),
        **{name: getattr(spec.evaluation, name) for name in ("scheme", "recipe", "without")},
        "latency_batch": ready.costs.latency_batch,
        "latency_threads": ready.costs.latency_threads,
        "latency_noise": ready.costs.latency_noise,
        "latency_note": "; ".join(ready.notes),
        "kept_genes": dict(ready.space.kept),
        "kept_note": ready.kept_note,
        "latency_measured_source": ready.timer.source,
        "resolution": ready.resolution.to_json(),
        "skipped_images": ready.context.skipped_images(),
        "test_failures": {str(number): error for number, error in (test_failures or {}).items()},
    }
    folder.write_json("summary.json", document)


def write_result(
    folder: RunFolder, spec: RunSpec, result: SearchResult, ready: RunInputs, tables: RunTables
) -> dict[int, int]:
    """Writes what a search found, before anything of it is measured on other images.

    Args:
        folder: The run's, with its tables.
        spec: Its settings.
        result: How the search ended.
        ready: What it searched on.
        tables: Writes them again, with the shortlist.

    Returns:
        The listed trial that stands for each trial of the front.
    """
    from bitfront.search.export.selection import shortlist_of, standing
    from bitfront.search.runs.right_images import write_right_images
    from bitfront.search.session.final_measurements import final_measurements

    write_summary(folder, spec, result, ready)
    stands_for = standing(shortlist_of(open_run(folder.name, runs_dir=folder.path.parent)))
    tables.write(result.trials, result.front, final_measurements({}, {}, stands_for))
    write_right_images(folder, ready.references, result.trials, {})
    return stands_for


def _has_study(folder: RunFolder, storage: str | None) -> bool:
    """Whether the run got as far as its study."""
    if (folder.path / TRIALS).exists():
        return True
    return (folder.path / JOURNAL).exists() if storage is None else has_study(storage, folder.name)
