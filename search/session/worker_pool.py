"""Who evaluates: this process, processes of this machine, or the workers of a cluster."""

from __future__ import annotations

import ast
import dataclasses
import sys
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.search.engine.protocols import AccuracyPool, InlinePool
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.files import read_json
from bitfront.search.runs.folder import RunFolder
from bitfront.search.workers.local_cluster import WorkerSettings, available_workers, parse_memory
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of, parse_duration

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext

# Says who evaluates, where that was said.
WORKERS = "workers.json"


@dataclass(frozen=True)
class WorkerOptions:
    """Who evaluates and what they may use; decides nothing of what is found.

    Attributes:
        workers: Processes of this machine; 0 to evaluate in this one, which works in any thread, notebook or
            script; None for as many as suit the machine. Processes import the script that starts them: there,
            the search has to stand under ``if __name__ == "__main__":``.
        cluster: Address of a Dask scheduler whose workers evaluate, such as ``tcp://10.0.0.5:8786``.
        evaluation_timeout: Seconds after which an evaluation counts as hung; a text such as ``10m`` is read
            as such. None for 20 times the longest one so far, at least 5 minutes.
        worker_memory: Most memory, in bytes, that a worker of this machine may take; a text such as ``4GB``
            is read as such. None for an equal share.
        send_data: Whether the workers of a cluster are sent the model and the images.
        evaluate_all: Whether also what the cache knows from earlier runs is evaluated.

    Raises:
        UserError: A text cannot be read, or an option asks for what another rules out.
    """

    workers: int | None = None
    cluster: str | None = None
    evaluation_timeout: float | str | None = None
    worker_memory: int | str | None = None
    send_data: bool = False
    evaluate_all: bool = False

    def __post_init__(self) -> None:
        """Checks the options against each other."""
        self.settings  # noqa: B018 - reading the texts raises
        if self.workers is not None and self.workers < 0:
            raise UserError(f"--workers {self.workers}: give at least 1")
        if self.workers is not None and self.cluster:
            raise UserError("--workers are processes of this machine: give either them or --cluster")
        if self.send_data and not self.cluster:
            raise UserError(
                "--send-data is for workers of other machines: give their scheduler with --cluster"
            )
        if self.worker_memory is not None and self.cluster:
            raise UserError(
                "--worker-memory is for workers of this machine: those of --cluster are limited where they "
                "are started, with `dask worker --memory-limit`"
            )

    @cached_property
    def settings(self) -> WorkerSettings:
        """The limits of an evaluation, in seconds and bytes."""
        timeout, memory = self.evaluation_timeout, self.worker_memory
        return WorkerSettings(
            parse_duration(timeout) if isinstance(timeout, str) else timeout,
            parse_memory(memory) if isinstance(memory, str) else memory,
        )

    @property
    def share_the_machine(self) -> bool:
        """Whether several processes evaluate beside each other."""
        return self.cluster is not None or self.workers not in (0, 1)

    @property
    def share_evaluations(self) -> bool:
        """Whether evaluations are taken from the cache and kept there.

        Not those of a cluster, whose processors may round otherwise than this one.
        """
        return self.cluster is None and not self.evaluate_all

    @property
    def processes(self) -> int:
        """Evaluating processes of this machine, this one where there are no others."""
        return (self.workers or 1) if self.cluster is None else 1

    @property
    def words(self) -> str:
        """Who they are, in words."""
        return "the cluster" if self.cluster is not None else str(self.workers)

    @property
    def who(self) -> str:
        """The same with what they are."""
        if self.cluster is not None:
            return f"the workers of {self.cluster}"
        return count_of(self.workers, "worker") if self.workers else "this process"


def given_options(workers: int | WorkerOptions | None) -> WorkerOptions:
    """What an argument ``workers`` says."""
    return workers if isinstance(workers, WorkerOptions) else WorkerOptions(workers)


def note_options(folder: RunFolder, given: WorkerOptions) -> None:
    """Writes who evaluates into a run folder, as far as that was said: a resumed run goes on with them."""
    document = {
        "workers": given.workers,
        "cluster": given.cluster,
        "send_data": given.send_data or None,
        "evaluate_all": given.evaluate_all or None,
        "evaluation_timeout": given.settings.evaluation_timeout_s,
        "worker_memory": given.settings.memory_bytes,
    }
    folder.write_json(WORKERS, {name: value for name, value in document.items() if value is not None})


def resumed_options(folder: RunFolder, given: WorkerOptions) -> tuple[WorkerOptions, str]:
    """Who evaluates what is left of a run.

    Args:
        folder: The run's.
        given: What was said when it was resumed: other workers take the place of those noted.

    Returns:
        The options, and what to say of those that were noted; empty where there is nothing to say.

    Raises:
        UserError: The note is damaged.
    """
    path = folder.path / WORKERS
    noted = read_json(path, dict, absent={})
    if given.workers is not None or given.cluster is not None:
        without = ("workers", "cluster", "send_data", *(("worker_memory",) if given.cluster else ()))
        noted = {name: value for name, value in noted.items() if name not in without}
    told = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    said = {name: value for name, value in told.items() if value not in (None, False)}
    try:
        options = WorkerOptions(**{**noted, **said, "workers": said.get("workers", noted.get("workers"))})
    except (TypeError, UserError) as error:
        if not noted:
            raise
        raise UserError(
            f"{path} does not fit ({error}): remove it, and give --workers or --cluster"
        ) from error
    if not {"workers", "cluster"} & noted.keys():
        return options, ""
    return options, f"evaluating with {options.who} as before; --workers or --cluster changes that"


def worker_options(workers: int | WorkerOptions | None, device: str) -> WorkerOptions:
    """What an argument ``workers`` stands for, with the number that suits this machine where it is left open.

    Raises:
        UserError: There are to be processes, which the running script would not let start.
    """
    options = given_options(workers)
    if options.cluster is not None or options.workers == 0:
        return options
    check_main_guard()
    return options if options.workers else dataclasses.replace(options, workers=available_workers(device))


def check_main_guard(instead: str = "give workers=0 to evaluate in this process") -> None:
    """Refuses to start processes from a script that would run once more in each of them.

    A new process imports the script that started it. What the script does at its top level is done there,
    too, unless it stands under ``if __name__ == "__main__":``.

    Args:
        instead: What its writer may do instead, for the error.

    Raises:
        UserError: The running statement of the script's top level is not under such a guard, or the script is
            no file, such as one that Python reads from its standard input.
    """
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)  # none in a notebook, a console or a command
    if path is not None and getattr(main, "__spec__", None) is None and not Path(path).exists():
        raise UserError(
            f"worker processes cannot import the running script, {path}, which is no file: save it as one "
            f"and run that, or {instead}"
        )
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    line = 0
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is vars(main):
            line = frame.f_lineno
        frame = frame.f_back
    if path is None or not line:
        return
    try:
        statements = ast.parse(Path(path).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return
    running = [node for node in statements if node.lineno <= line <= (node.end_lineno or node.lineno)]
    guarded = [node for node in running if isinstance(node, ast.If) and "__name__" in ast.dump(node.test)]
    if running and not guarded:
        raise UserError(
            f"worker processes import {Path(path).name} again and would run line {line} there, too: put it "
            f'under `if __name__ == "__main__":`, or {instead}'
        )


def one_thread_each(spec: RunSpec) -> RunSpec:
    """The spec for several workers, which fill the processors between them; written threads stay."""
    evaluation = dataclasses.replace(spec.evaluation, threads=spec.evaluation.threads or 1)
    return dataclasses.replace(spec, evaluation=evaluation)


def on_freed_processors(context: EvaluationContext, options: WorkerOptions) -> EvaluationContext:
    """The context on the processors of this machine that workers had, which have ended."""
    together = options.processes if context.spec.device == "cpu" else 1
    return context.on_threads((context.spec.threads or 1) * together)


def start_workers(options: WorkerOptions, spec: RunSpec, context: EvaluationContext) -> AccuracyPool:
    """Starts the workers of this machine, or checks those of a cluster and sends them what they need.

    Args:
        options: Who evaluates, with a number of workers where there is no cluster.
        spec: The run's settings, resolved.
        context: The coordinator's own; the results of a cluster must agree with it.

    Raises:
        UserError: The scheduler cannot be reached, or a worker there cannot take part.
        BitfrontError: The workers did not start.
    """
    if options.workers == 0:
        return InlinePool(lambda config, required: context.quality(config, required=required))
    from bitfront.search.workers.pool import DaskPool

    if options.cluster is None:
        return DaskPool(spec.evaluation, options.workers or 1, settings=options.settings)
    from bitfront.evaluators.context.bundle import bundle_of, fingerprint_of

    return DaskPool(
        spec.evaluation,
        cluster=options.cluster,
        settings=options.settings,
        reference=fingerprint_of(context),
        bundle=bundle_of(context) if options.send_data else None,
    )
