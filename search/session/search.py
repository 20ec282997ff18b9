"""Searching and resuming: from a typed spec to a run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.latency.registry import LATENCY_LOAD
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.names import runs_root
from bitfront.search.runs.storage import resumed_storage
from bitfront.search.session.begin_from import spec_begun_from, take_over
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.run import Run
from bitfront.search.session.search_session import SearchSession
from bitfront.search.session.specs import checked_spec, completed_spec
from bitfront.search.session.worker_pool import WorkerOptions, given_options, resumed_options, worker_options

if TYPE_CHECKING:
    from torch import nn

    from bitfront.evaluators.data.given_images import LabelledImages


def search(
    spec: RunSpec | None = None,
    *,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    model: nn.Module | None = None,
    data: LabelledImages | None = None,
    calibration_data: LabelledImages | None = None,
    test_data: LabelledImages | None = None,
    workers: int | WorkerOptions | None = None,
    storage: str | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Run:
    """Searches for the Pareto-best bit widths of a model, and leaves a run folder.

    Ctrl-C ends a search in good order: the run is returned as far as it has come, with ``interrupted`` set.

    Args:
        spec: What is searched, for what and how; None for the defaults.
        name: Name of the run; None for one of model and time.
        runs_dir: Folder of the runs, made with the first; None for ``runs``, or what the environment variable
            ``BITFRONT_RUNS`` says.
        model: A vision transformer of timm, in place of the spec's. Its architecture and weights become
            files of the run folder.
        data: A map-style data set of images and labels, in place of the spec's. Its images become files of
            the run folder.
        calibration_data: Such a data set for calibration alone.
        test_data: Such a data set for the test split alone, which the finished front is reported on.
        workers: Processes of this machine that evaluate; 0 to evaluate in this process, None for as many as
            suit the machine. :class:`~bitfront.search.session.worker_pool.WorkerOptions` say more, such as
            the address of a cluster.
        storage: URL of a database for the Optuna study; None for the run folder.
        progress: A function that is told of each step as a text and the share of it that is done (0 to 1), or
            a :class:`~bitfront.search.session.reporter.Reporter`; None for no one.

    Returns:
        The finished run. Its front is empty where no configuration met the limits; then ``message`` says
        which were missed, and what came nearest.

    Raises:
        UserError: The request cannot be carried out as stated.
        BitfrontError: The search failed; what was evaluated is kept, and :func:`resume` goes on with it.
    """
    spec, source = completed_spec(spec or RunSpec())
    given = given_options(workers)
    options = worker_options(given, spec.evaluation.device)
    store = RunStore(runs_root(runs_dir))
    called = spec.evaluation.model if model is None else type(model).__name__
    folder = store.create(name or store.default_name(called))
    told = reporter_of(progress)
    inputs = {"data": data, "calibration_data": calibration_data, "test_data": test_data}
    images = {field: found for field, found in inputs.items() if found is not None}
    session = SearchSession(spec, folder, options, storage, told, model=model, images=images, source=source)
    return session.run(given)


def resume(
    name: str,
    *,
    runs_dir: str | Path | None = None,
    evaluations: int | None = None,
    time_budget: str | float | None = None,
    plateau: int | None = None,
    workers: int | WorkerOptions | None = None,
    storage: str | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Run:
    """Goes on with a run; what it has evaluated is not evaluated again.

    Args:
        name: Name of the run.
        runs_dir: Folder of the runs, as of :func:`search`.
        evaluations: Another number of evaluations in all.
        time_budget: Another search time in all, in seconds or such as ``10m``.
        plateau: Another number of evaluations without growth of the hypervolume that end the search.
        workers: As of :func:`search`; None for those that the run was begun with.
        storage: URL of the database that the study is in; None for the one that the run has noted, which
            is needed again where it has a password.
        progress: As of :func:`search`.

    Raises:
        UserError: There is no such run, or it cannot be gone on with in this way.
        BitfrontError: The search failed; what was evaluated is kept.
    """
    folder = RunStore(runs_root(runs_dir)).open(name)
    storage = resumed_storage(folder.path, storage)
    extended = {"evaluations": evaluations, "time_budget": time_budget, "plateau": plateau}
    changes: dict[str, Any] = {name: value for name, value in extended.items() if value is not None}
    spec = dataclasses.replace(folder.read_spec(), **changes)
    given, note = resumed_options(folder, given_options(workers))
    options, told = worker_options(given, spec.evaluation.device), reporter_of(progress)
    session = SearchSession(spec, folder, options, storage, told, resumed=True)
    if note:
        told.note(note)
    return session.run(given)


def search_from(
    origin: str,
    *,
    settings: Mapping[str, Any] | None = None,
    evaluations: int | None = None,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    workers: int | WorkerOptions | None = None,
    storage: str | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Run:
    """A new search that begins with the evaluations of an earlier run, such as for another machine.

    What an evaluation is worth belongs to model, data and recipe: these are the earlier run's, and none of
    its evaluations is made again. Costs and limits are those of the new search.

    Args:
        origin: Name of the earlier run.
        settings: Fields of :class:`RunSpec` that take other values, such as ``{"latency": "table:phone.csv",
            "max_latency": "20ms"}``; not ``evaluation``.
        evaluations: Evaluations beyond those of the earlier run; None for as many as suit the space.
        name: Name of the new run; None for one of model and time.
        runs_dir: Folder of both runs, as of :func:`search`.
        workers: As of :func:`search`.
        storage: As of :func:`search`.
        progress: As of :func:`search`.

    Raises:
        UserError: There is no such run, or a setting cannot be used with its evaluations.
        BitfrontError: The search failed; what was evaluated is kept.
    """
    store, told = RunStore(runs_root(runs_dir)), reporter_of(progress)
    earlier, changes = store.open(origin), dict(settings or {})
    spec, notes = spec_begun_from(earlier, changes)
    own = not {"latency", *LATENCY_LOAD} & changes.keys()
    # Of a run of an earlier version, today's rules would take other images.
    recorded, source = spec.evaluation, None
    if own:
        spec = checked_spec(spec)
    else:
        spec, source = completed_spec(spec)
        spec = dataclasses.replace(spec, evaluation=recorded)
    given = given_options(workers)
    options = worker_options(given, spec.evaluation.device)
    folder = store.create(name or store.default_name(spec.evaluation.model))
    try:
        take_over(earlier, folder, earlier.read_spec(), same_latencies=own)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    for note in notes:
        told.note(f"note: {note}")
    session = SearchSession(spec, folder, options, storage, told, source=source, further=evaluations)
    return session.run(given)
