"""The pool of Dask workers, of this machine or of a cluster, behind submit and next_completed."""

from __future__ import annotations

import json
import logging
import queue
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.engine.protocols import Completed
from bitfront.search.workers.admission import Admission
from bitfront.search.workers.assignments import Submission
from bitfront.search.workers.connection import Connection
from bitfront.search.workers.dispatcher import Dispatcher, Job
from bitfront.search.workers.local_cluster import (
    WorkerSettings,
    dask_settings,
    equal_share,
    not_started,
    start_cluster,
)
from bitfront.search.workers.messages import Lost, WorkerList
from bitfront.search.workers.task import Evaluate, evaluate_on_worker, prepare_on_worker
from bitfront.search.workers.timeouts import EvaluationClock, Outage
from bitfront.search.workers.worker_environment import describe_environment, paths_of, with_absolute_paths
from bitfront.spaces import BitConfig, BitfrontError, UserError
from bitfront.spaces.errors import one_line

if TYPE_CHECKING:
    from distributed import LocalCluster

    from bitfront.evaluators.context.bundle import ContextFingerprint

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
# A scheduler that is gone is called again so often, and given so long to answer.
RECONNECT_S = 2.0
TEND_S = 0.1
SILENCE_S = 10.0
# A worker that died is replaced within that.
ABSENCE_S = 15.0


class DaskPool:
    """Evaluates on Dask workers: processes of this machine, or those of an existing scheduler.

    Local workers ignore Ctrl-C, which is the coordinator's to handle, and end with the coordinator. A worker
    that dies, hangs or takes too much memory is replaced; the candidate that it was at is tried once more,
    then it counts as failed. Workers of a cluster may come and go. A scheduler that is lost is waited for,
    and what was not answered is sent again.

    Args:
        spec: What the workers load.
        workers: Processes to start, where there is no ``cluster``.
        cluster: Address of an existing scheduler, such as ``tcp://10.0.0.5:8786``; all its workers are used.
        evaluate: Scores a configuration in place of the evaluation context of ``spec``; must be importable,
            or picklable, on a worker.
        settings: What workers may use, and how long they are waited for.
        reference: What the coordinator's context is made of, for workers of a cluster to be compared with.
        bundle: What workers of a cluster are sent instead of loading it from paths of their own
            (:func:`bitfront.evaluators.context.bundle.bundle_of`).

    Raises:
        UserError: The scheduler cannot be reached, has no workers, or has one that cannot take part.
        BitfrontError: The workers did not start.
    """

    def __init__(
        self,
        spec: EvaluationSpec,
        workers: int = 1,
        cluster: str | None = None,
        evaluate: Evaluate | None = None,
        settings: WorkerSettings | None = None,
        reference: ContextFingerprint | None = None,
        bundle: bytes | None = None,
    ) -> None:
        self._spec = with_absolute_paths(spec)
        self._settings = settings or WorkerSettings()
        self._reference = reference
        self._bundle = bundle
        self._address = cluster
        self._cluster: LocalCluster | None = None
        self._connection: Connection | None = None
        self._dask_settings = ExitStack()
        try:
            self._start(workers, evaluate)
        except BaseException:
            self.close()
            raise

    def _start(self, workers: int, evaluate: Evaluate | None) -> None:
        memory, local = None, self._address is None
        self._dask_settings.enter_context(dask_settings((self._spec.threads or 1) if local else None))
        if local:
            memory = self._settings.memory_bytes or equal_share(max(workers, 1))
            self._cluster = start_cluster(workers, memory)
        prepare = None if evaluate else prepare_on_worker
        job = Job(self._spec.canonical(), evaluate or evaluate_on_worker, prepare, memory)
        self._clock = EvaluationClock(self._settings)
        self._connection = self._connected()
        self._admission = self._new_admission()
        self._dispatcher = Dispatcher(self._connection, self._admission, self._clock, job)
        self._heard = self._called = time.monotonic()
        patience_s, scheduler = self._settings.patience_s, "the Dask scheduler"
        self._silence = Outage(f"{scheduler} does not answer", f"{scheduler} answers again", 0.0, patience_s)
        self._absence = Outage(
            f"{scheduler} has no workers", f"{scheduler} has workers again", ABSENCE_S, patience_s
        )
        self._await_workers(workers)

    @property
    def workers(self) -> int:
        """How many candidates are evaluated at a time."""
        return self._dispatcher.workers

    @property
    def capacity(self) -> int:
        """More than are evaluated, so that no worker waits for the coordinator's disk."""
        workers = max(1, self._dispatcher.workers)
        return 2 * workers if self._clock.quick else workers + 1

    def submit(self, key: int, config: BitConfig, required: float | None = None) -> None:
        """Sends a candidate to a worker, or keeps it until there is one for it."""
        submission = Submission(key, json.dumps(config.to_json(), sort_keys=True), required)
        self._dispatcher.add(submission, time.monotonic())

    def next_completed(self, timeout: float) -> Completed | None:
        """The next result, or None when none arrives within ``timeout`` seconds.

        Raises:
            BitfrontError: The scheduler or its workers have been away for too long, or no worker can take
                part.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._hear(0.0)
            if self._dispatcher.done:
                return self._dispatcher.done.popleft()
            self._check()
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._hear(min(left, TEND_S))

    def close(self) -> None:
        """Ends the workers that this pool started, busy or not, and leaves an existing scheduler as it is."""
        # A machine that is too busy to end them in time must not cost the search its result: workers end with
        # this process in any case.
        late = []
        if self._connection is not None:
            try:
                self._connection.close(2)
            except TimeoutError:
                late.append("the client of the workers")
        if self._cluster is not None:
            try:
                self._cluster.close(timeout=5)
            except TimeoutError:
                late.append("the workers")
        for what in late:
            logger.warning("%s took too long to end", what)
        if not late:  # else they end under the settings that they were started with
            self._dask_settings.close()

    def _connected(self, timeout_s: float | None = None) -> Connection:
        target = self._cluster or self._address
        assert target is not None, "one of both is given"
        try:
            return Connection(target, timeout_s or START_TIMEOUT_S)
        except TypeError as error:  # Dask's for a tls:// address where it has no certificates
            raise UserError(
                f"--cluster {target} needs certificates ({one_line(error, 120)}): set Dask's "
                "distributed.comm.tls here as the scheduler has it, see docs/clusters.md"
            ) from error
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(
                f"--cluster {target} cannot be reached ({error}): give the address of a running Dask "
                "scheduler, such as tcp://10.0.0.5:8786"
            ) from error

    def _new_admission(self) -> Admission:
        spec_json = self._spec.canonical()
        if self._cluster is not None:
            return Admission(None, spec_json)
        paths = () if self._bundle is not None else paths_of(self._spec)
        return Admission(describe_environment(paths), spec_json, paths, self._bundle, self._reference)

    def _await_workers(self, workers: int) -> None:
        """Waits until every worker that is there at the start has been let in or refused.

        Raises:
            UserError: There is none, or one that cannot take part.
            BitfrontError: Those of this machine do not appear.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._dispatcher.workers < max(workers, 1) if self._cluster else not self._admission.decided:
            self._hear(TEND_S)
            if time.monotonic() > deadline:
                break
        if self._admission.rejected:
            raise UserError(next(iter(self._admission.rejected.values())))
        if not self._dispatcher.workers and not self._admission.known:
            if self._cluster:
                raise not_started(workers)
            raise UserError(
                f"--cluster {self._address} has no workers: start some with `dask worker {self._address}`"
            )

    def _hear(self, timeout_s: float) -> None:
        """Takes in what has been reported, waiting for the first report; does what is due."""
        connection = self._connection
        if connection is None:
            time.sleep(timeout_s)
            self._reconnect()
            return
        try:
            message = (
                connection.inbox.get(timeout=timeout_s) if timeout_s > 0 else connection.inbox.get_nowait()
            )
            while True:
                now = time.monotonic()
                if isinstance(message, Lost):
                    self._lose()
                    return
                if isinstance(message, WorkerList):
                    if now - self._heard > SILENCE_S:
                        self._dispatcher.excuse(now)
                    self._heard = now
                self._dispatcher.hear(message, now)
                message = connection.inbox.get_nowait()
        except queue.Empty:
            now = time.monotonic()
            self._dispatcher.tend(now, hung=now - self._heard < SILENCE_S)

    def _check(self) -> None:
        """Waits aloud for what is away."""
        now = time.monotonic()
        self._silence.note(self._connection is not None and now - self._heard < SILENCE_S, now)
        if self._connection is None or not self._dispatcher.waiting or self._dispatcher.workers:
            self._absence.note(True, now)
        elif (refusal := self._admission.refusal) is not None:
            raise BitfrontError(refusal)
        else:
            self._absence.note(bool(self._admission.known), now)

    def _lose(self) -> None:
        """Takes note that the scheduler is lost."""
        assert self._connection is not None, "what is lost was there"
        if self._cluster is not None:
            raise BitfrontError("the scheduler of the local workers was lost")
        self._connection.abandon()
        self._connection = None
        self._dispatcher.disconnect()

    def _reconnect(self) -> None:
        """Connects to the scheduler that was lost, if it is back."""
        now = time.monotonic()
        if now - self._called < RECONNECT_S:
            return
        self._called = now
        try:
            self._connection = self._connected(RECONNECT_S)
        except UserError as error:
            logger.debug("not back yet: %s", error)
            return
        self._admission = self._new_admission()
        self._dispatcher.reconnect(self._connection, self._admission)
        self._heard = time.monotonic()
