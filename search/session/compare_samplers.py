"""``bitfront compare-samplers``: prepares a model once, runs all searches on it and says what they found."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.files import explained, write_atomically
from bitfront.search.cli.options.specs import WORKER_OPTIONS, run_spec, worker_options
from bitfront.search.reports.comparison import csv_text, markdown, print_comparison, title
from bitfront.search.runs.folder import RunFolder, RunStore, checked_name
from bitfront.search.samplers.registry import DEFAULT_EVALUATIONS, begins_with_scores
from bitfront.search.session.comparison.measures import FIXED, TIGHT
from bitfront.search.session.comparison.settings import (
    ComparisonSettings,
    open_comparison,
    parse_samplers,
)
from bitfront.search.session.comparison.shared_evaluations import EVALUATIONS
from bitfront.search.session.specs import completed_spec
from bitfront.search.session.worker_pool import one_thread_each, start_workers
from bitfront.spaces import BitfrontError, UserError

if TYPE_CHECKING:
    from bitfront.search.problem.problem import SearchProblem
    from bitfront.search.problem.trial import Trial
    from bitfront.search.session.comparison.comparison import Comparison
    from bitfront.search.session.comparison.searches import FinishedSearch
    from bitfront.search.session.inputs import RunInputs


MARKDOWN, PICTURE, CURVES = FILES = ("comparison.md", "comparison.png", "curves.csv")
# Holds what `bitfront search` prepares; in a folder of its own, so that the comparison is no run.
PREPARED = "prepared"
INTERRUPTED_STATUS = 130
# Fewer tell no differences of a few percent.
ENOUGH_SEEDS = 10
_WITH_RESUME = WORKER_OPTIONS | {"resume", "samplers", "seeds", "evaluations", "truth", "runs_dir"}


def run_compare_samplers(args: argparse.Namespace) -> int:
    """Runs or resumes a comparison and returns the exit status.

    Raises:
        UserError: The request cannot be carried out as stated.
        BitfrontError: No configuration met the limits, or nothing could be evaluated.
    """
    from bitfront.search.reports.console import stderr_console

    worker_options(args)
    settings, folder = _resumed(args) if args.resume else _started(args)
    with _told_how_to_go_on(args, folder), folder.lock(), folder.log_file(), explained(folder.path):
        settings.write(folder.path)
        stderr_console().print(f"comparison {folder.name} in {folder.path}", soft_wrap=True)
        document = _Session(args, settings, folder).compare()
    return _report(args, document, folder)


@contextmanager
def _told_how_to_go_on(args: argparse.Namespace, folder: RunFolder) -> Iterator[None]:
    """Says after a failure or Ctrl-C that nothing is lost; removes a folder that has nothing to lose."""
    from bitfront.search.reports.console import hint

    try:
        yield
    except BaseException as error:
        if not (folder.path / EVALUATIONS).exists():
            if not args.resume:
                shutil.rmtree(folder.path, ignore_errors=True)
            raise
        if isinstance(error, BitfrontError) and not isinstance(error, UserError):
            raise BitfrontError(
                f"{error}; every evaluation recorded so far is kept: go on with `{_resume(args, folder)}`"
            ) from error
        if isinstance(error, KeyboardInterrupt):
            hint(_resume(args, folder))
        raise


def _started(args: argparse.Namespace) -> tuple[ComparisonSettings, RunFolder]:
    """The settings of a new comparison and its folder; everything that can be checked is."""
    samplers = parse_samplers(args.samplers)
    spec = completed_spec(run_spec(args))
    store = RunStore(args.runs_dir)
    folder = store.create(args.run or store.default_name(f"compare-{spec.evaluation.model}"))
    return ComparisonSettings(spec, samplers, args.seeds, args.truth), folder


def _resumed(args: argparse.Namespace) -> tuple[ComparisonSettings, RunFolder]:
    """The settings of an earlier comparison, with those that may change as they were written now."""
    foreign = sorted(args.given - _WITH_RESUME)
    if foreign:
        raise UserError(
            f"--{foreign[0].replace('_', '-')} cannot be given with --resume: comparison "
            f"{checked_name(args.resume)} keeps its settings; only --samplers, --seeds, --evaluations, "
            "--truth and the options of the machine may be"
        )
    path = open_comparison(RunStore(args.runs_dir), args.resume)
    settings = ComparisonSettings.read(path)
    changes: dict[str, Any] = {"truth": settings.truth or args.truth}
    if "samplers" in args.given:
        changes["samplers"] = parse_samplers(args.samplers)
    if "seeds" in args.given:
        changes["seeds"] = args.seeds
    if "evaluations" in args.given:
        changes["spec"] = dataclasses.replace(settings.spec, evaluations=args.evaluations)
    return dataclasses.replace(settings, **changes), RunFolder(path)


class _Session:
    """One comparison in its folder: prepare, search, summarise."""

    def __init__(self, args: argparse.Namespace, settings: ComparisonSettings, folder: RunFolder) -> None:
        from bitfront.search.reports.console import stderr_console

        self._args = args
        self._workers = worker_options(args).on(settings.spec.evaluation.device)
        if self._workers.share_the_machine:
            settings = dataclasses.replace(settings, spec=one_thread_each(settings.spec))
        self._settings = settings
        self._folder = folder
        self._console = stderr_console()

    def compare(self) -> Mapping[str, Any]:
        """Runs what is not finished yet; returns the document, whose files are written."""
        from bitfront.search.problem.problem import SearchProblem
        from bitfront.search.reports.progress import stage
        from bitfront.search.session.comparison.comparison import Comparison
        from bitfront.search.session.inputs import prepare_run

        prepared = RunFolder(self._folder.path / PREPARED)
        prepared.path.mkdir(exist_ok=True)
        # Those that begin with the genes' sensitivities need them, and the others mind not.
        sampler = max(self._settings.samplers, key=begins_with_scores)
        spec = dataclasses.replace(self._settings.spec, sampler=sampler)
        ready = prepare_run(spec, prepared, lambda text: stage(self._console, text))
        # Settings that were measured, such as the batch size, are the comparison's own from here on.
        self._settings = dataclasses.replace(self._settings, spec=ready.spec)
        self._settings.write(self._folder.path)
        for note in ready.notes:
            self._console.print(f"note: {note}", soft_wrap=True)
        problem = SearchProblem.from_spec(ready.spec, ready.space, ready.costs, ready.references)
        self._check_samplers(problem)
        with stage(self._console, f"starting workers: {self._workers.words}"):
            pool = start_workers(self._workers, ready.spec, ready.context)
        try:
            comparison = Comparison(problem, pool, self._folder.path, ready.scores)
            everything, searches, whole = self._search(comparison, problem)
        finally:
            pool.close()
        if not searches:
            raise KeyboardInterrupt
        return self._summarised(problem, ready, comparison, searches, everything, whole)

    def _check_samplers(self, problem: SearchProblem) -> None:
        """Refuses a space that is too large for what was asked, before minutes are spent."""
        from bitfront.search.samplers.exhaustive import check_exhaustible

        if self._settings.truth or "exhaustive" in self._settings.samplers:
            check_exhaustible(problem.space)

    def _search(
        self, comparison: Comparison, problem: SearchProblem
    ) -> tuple[Sequence[Trial] | None, list[FinishedSearch], bool]:
        """The trials of all configurations where they are known, the searches, and whether those are all."""
        from bitfront.search.reports.progress import stage

        settings, everything = self._settings, None
        if settings.truth:
            count = f"{problem.space.cardinality:,}"
            with stage(self._console, f"evaluating all {count} configurations") as share_done:
                everything = comparison.evaluate_all(settings.spec.seed, share_done)
            if everything is None:
                raise KeyboardInterrupt
        entries = list(settings.entries())
        names = ", ".join(settings.samplers)
        seeds = "1 seed" if settings.seeds == 1 else f"{settings.seeds} seeds"
        with stage(self._console, f"searching with {names}; {seeds}") as share_done:
            searches = comparison.run(entries, share_done)
        return everything, searches, len(searches) == len(entries)

    def _summarised(
        self,
        problem: SearchProblem,
        ready: RunInputs,
        comparison: Comparison,
        searches: Sequence[FinishedSearch],
        everything: Sequence[Trial] | None,
        whole: bool,
    ) -> Mapping[str, Any]:
        from bitfront.search.engine.result import nothing_feasible
        from bitfront.search.reports.plots.comparison import draw_comparison
        from bitfront.search.session.comparison.document import comparison_document

        found = [trial for searched in searches for trial in searched.trials]
        if not any(trial.feasible for trial in everything or found):
            raise BitfrontError(nothing_feasible(everything or found, problem.limits))
        spec = ready.spec
        document = {
            "comparison": self._folder.name,
            **{name: getattr(spec.evaluation, name) for name in ("model", "data", "scheme", "recipe")},
            "space": spec.space,
            **comparison_document(problem, searches, everything, spec.evaluations or DEFAULT_EVALUATIONS),
            "evaluated": len(comparison.evaluations),
            "latency_source": problem.cost.latency_source,
            "notes": list(ready.notes),
            "interrupted": not whole,
        }
        path = self._folder.path
        write_atomically(path / CURVES, csv_text(document))
        write_atomically(path / MARKDOWN, markdown(document))
        draw_comparison(document, path / PICTURE, title(document))
        return document


def _report(args: argparse.Namespace, document: Mapping[str, Any], folder: RunFolder) -> int:
    from bitfront.search.reports.console import hint, print_json

    files = [folder.path / name for name in FILES]
    if args.json:
        print_json({**document, "files": files})
    else:
        print_comparison(document, folder.path)
        hint(_next(args, document, folder), f"picture in {folder.path / PICTURE}")
    return INTERRUPTED_STATUS if document["interrupted"] else 0


def _next(args: argparse.Namespace, document: Mapping[str, Any], folder: RunFolder) -> str:
    """What to type next: the rest of the searches, more seeds, or a search with the best sampler."""
    resume = _resume(args, folder)
    if document["interrupted"]:
        return resume
    fewest = min(len(sampler["seeds"]) for sampler in document["samplers"])
    if fewest < ENOUGH_SEEDS:
        return f"{resume} --seeds {ENOUGH_SEEDS}"
    boxes = document["goal"]["boxes"]
    box = TIGHT if TIGHT in boxes else FIXED
    best = max(document["samplers"], key=lambda sampler: sampler["hypervolume"][box][-1]["median"])
    return f"bitfront search --sampler {best['sampler']}, with the options of this comparison"


def _resume(args: argparse.Namespace, folder: RunFolder) -> str:
    where = f" --runs-dir {args.runs_dir}" if "runs_dir" in args.given else ""
    return f"bitfront compare-samplers --resume {folder.name}{where}"
