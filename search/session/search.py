"""``bitfront search``: from the arguments to a finished run folder."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from bitfront.evaluators.context.environment import describe_environment, describe_evaluator
from bitfront.search import wording
from bitfront.search.cli.options.specs import WORKER_OPTIONS, run_spec, worker_options
from bitfront.search.engine.result import INTERRUPTED
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.spec import EXTENDABLE, RunSpec
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.runs.folder import RunFolder, RunStore, write_space
from bitfront.search.runs.locks import study_lock
from bitfront.search.runs.storage import JOURNAL, has_study, without_password
from bitfront.search.samplers.registry import default_evaluations
from bitfront.search.session.inputs import RunInputs, prepare_run
from bitfront.search.session.specs import completed_spec
from bitfront.search.session.worker_pool import one_thread_each, start_workers
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.quantities import parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from bitfront.search.engine.result import SearchResult
    from bitfront.search.problem.problem import SearchProblem
    from bitfront.search.runs.tables import RunTables


logger = logging.getLogger(__name__)

# Options that may be written beside --resume.
_WITH_RESUME = frozenset(
    {*EXTENDABLE, *WORKER_OPTIONS, "resume", "runs_dir", "storage", "json", "verbose", "debug"}
)
INTERRUPTED_STATUS = 130
# Says where the study is, where it is not in the run folder.
STORAGE_NOTE = "storage.json"
Stage = Callable[[str], AbstractContextManager[Callable[[float], None]]]


def run_search(args: argparse.Namespace) -> int:
    """Runs or resumes a search and returns the exit status.

    Raises:
        UserError: The request cannot be carried out as stated.
        BitfrontError: No configuration met the limits; the run folder is complete all the same.
    """
    from bitfront.search.reports.console import stderr_console
    from bitfront.search.reports.progress import stage

    console = stderr_console()
    worker_options(args)
    store = RunStore(args.runs_dir)
    spec, folder = _resumed(args, store) if args.resume else _started(args, store)
    # What --resume finds is there to be kept, however little of it was written.
    kept = nullcontext() if args.resume else folder.removed_unless_begun()
    with _told_how_to_go_on(folder), folder.lock(), kept, folder.log_file():
        folder.write_spec(spec)
        console.print(f"run {folder.name} in {folder.path}", soft_wrap=True)
        session = _Session(args, spec, folder, console, lambda text: stage(console, text))
        with study_lock(args.storage, folder.name):
            result = session.search()
    return _report(args, folder, result)


@contextmanager
def _told_how_to_go_on(folder: RunFolder) -> Iterator[None]:
    """Adds to a failure in mid-search that nothing is lost and how to resume."""
    try:
        yield
    except UserError:
        raise
    except BitfrontError as error:
        if not folder.begun:
            raise
        raise BitfrontError(
            f"{error}; every evaluation recorded so far is kept: go on with "
            f"`bitfront search --resume {folder.name}`"
        ) from error


def _started(args: argparse.Namespace, store: RunStore) -> tuple[RunSpec, RunFolder]:
    """The spec of a new run and its folder; everything that can be checked without loading is."""
    spec = completed_spec(run_spec(args))
    return spec, store.create(args.run or store.default_name(spec.evaluation.model))


def _resumed(args: argparse.Namespace, store: RunStore) -> tuple[RunSpec, RunFolder]:
    """The recorded spec of an earlier run, with budgets that were written anew, and its folder."""
    folder = store.open(args.resume)
    foreign = sorted(args.given - _WITH_RESUME)
    if foreign:
        option = f"--{foreign[0].replace('_', '-')}"
        raise UserError(
            f"{option} cannot be given with --resume: run {folder.name} keeps its settings; only "
            "--evaluations, --time-budget, --plateau and the options of the machine may be"
        )
    if (folder.path / STORAGE_NOTE).exists() and args.storage is None:
        url = folder.read_json(STORAGE_NOTE).get("url")
        raise UserError(f"run {folder.name} keeps its study in {url}: give it again with --storage")
    spec = folder.read_spec()
    if "evaluations" in args.given:
        spec = dataclasses.replace(spec, evaluations=args.evaluations)
    if "time_budget" in args.given:
        spec = dataclasses.replace(spec, time_budget=parse_duration(args.time_budget))
    if "plateau" in args.given:
        spec = dataclasses.replace(spec, plateau=args.plateau)
    return spec, folder


class _Session:
    """One search in its run folder: prepare, search, measure the front, write."""

    def __init__(
        self, args: argparse.Namespace, spec: RunSpec, folder: RunFolder, console: Console, stage: Stage
    ) -> None:
        self._args = args
        self._workers = worker_options(args).on(spec.evaluation.device)
        self._spec = one_thread_each(spec) if self._workers.share_the_machine else spec
        self._folder = folder
        self._console = console
        self._stage = stage

    def search(self) -> SearchResult:
        """Runs everything and leaves a complete run folder."""
        from bitfront.search.problem.problem import SearchProblem
        from bitfront.search.runs.tables import RunTables

        ready = prepare_run(self._spec, self._folder, self._stage)
        self._spec = self._with_evaluations(ready)
        evaluator = describe_evaluator(ready.context)
        self._folder.write_json("environment.json", {**describe_environment(), **evaluator})
        self._console.print(f"evaluating in {wording.evaluator(evaluator)}", soft_wrap=True)
        for note in [*ready.notes, *evaluator["kernel_notes"]]:
            self._console.print(f"note: {note}", soft_wrap=True)
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

    def _with_evaluations(self, ready: RunInputs) -> RunSpec:
        """The spec, with the number of evaluations that an unwritten one means for its sampler."""
        if ready.spec.evaluations is not None:
            return ready.spec
        number = default_evaluations(ready.spec.sampler, ready.space)
        spec = dataclasses.replace(ready.spec, evaluations=number)
        self._folder.write_spec(spec)
        return spec

    def _run_engine(self, problem: SearchProblem, tables: RunTables, ready: RunInputs) -> SearchResult:
        from bitfront.search.engine.engine import SearchEngine
        from bitfront.search.reports.progress import SearchProgress
        from bitfront.search.runs.study import StudyRecord
        from bitfront.search.runs.tables import FolderWriter
        from bitfront.search.samplers.registry import make_sampler

        spec, folder, args = self._spec, self._folder, self._args
        assert spec.evaluations is not None, "the spec is complete"
        sampler = make_sampler(spec.sampler, problem, spec.population, spec.seed, ready.scores)
        known = args.resume and _has_study(folder, args.storage)
        begin = StudyRecord.open if known else StudyRecord.create
        with self._stage(f"starting workers: {self._workers.words}"):
            pool = start_workers(self._workers, spec, ready.context)
        try:
            record = begin(folder.path, folder.name, spec, problem, args.storage)
            if args.storage is not None:
                folder.write_json(STORAGE_NOTE, {"url": without_password(args.storage)})
            with SearchProgress(spec.evaluations, self._console) as display:
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

        points = f"{len(result.front)} front points"
        with self._stage(f"test accuracy of {points} on {len(ready.context.splits.test)} images") as share:
            accuracies, failures = held_out_accuracies(ready.context, ready.space, result.front, share)
        tables.write(result.trials, result.front, final_measurements(accuracies, {}))
        self._write_summary(result, ready, failures)
        batch, timer = ready.costs.latency_batch, ready.timer
        with self._stage(f"whole-model latency of {points} ({timer.source}), batch {batch}") as share:
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
        from bitfront.search.runs.reader import open_run

        try:
            with self._stage("drawing plots"):
                write_plots(open_run(self._folder.path.parent, self._folder.name))
        except Exception as error:
            logger.warning("the plots could not be drawn", exc_info=True)
            reason = EvaluationFailure.of(error).message
            self._console.print(
                f"warning: the plots could not be drawn ({reason}): draw them with `bitfront plot "
                f"{self._folder.name}`",
                soft_wrap=True,
            )


def _has_study(folder: RunFolder, storage: str | None) -> bool:
    """Whether the run got as far as its study."""
    if storage is None:
        return (folder.path / JOURNAL).exists()
    # The note is written after the study: the process may have been killed in between.
    return (folder.path / STORAGE_NOTE).exists() or has_study(storage, folder.name)


def _report(args: argparse.Namespace, folder: RunFolder, result: SearchResult) -> int:
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.front_table import (
        front_document,
        print_front,
    )
    from bitfront.search.runs.reader import open_run

    run = open_run(folder.path.parent, folder.name)
    if args.json:
        print_json(front_document(run))
    elif result.front:
        print_front(run)
    interrupted = result.reason == INTERRUPTED
    if result.message and not interrupted:
        raise BitfrontError(result.message)
    if not args.json:
        where = f" --runs-dir {args.runs_dir}" if "runs_dir" in args.given else ""
        storage = " --storage URL" if args.storage else ""
        going_on = [f"bitfront search --resume {run.name}{where}{storage}"] if interrupted else []
        chosen = [f"bitfront export {run.name} --pick knee{where}"] if result.front else []
        hint(*going_on, *chosen, f"pictures in {folder.path / 'plots'}")
    return INTERRUPTED_STATUS if interrupted else 0
