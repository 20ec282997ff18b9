"""Evaluation workers: Dask processes that load and calibrate once, then score configurations."""

from __future__ import annotations

import json
import logging
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from bitfront.evaluators.device import available_cpus
from bitfront.evaluators.spec import EvaluationSpec
from bitfront.search.pool import Completed, EvaluationFailure
from bitfront.spaces import BitConfig, BitfrontError, UserError

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

    from bitfront.evaluators.accuracy import Accuracy
    from bitfront.evaluators.context import EvaluationContext

logger = logging.getLogger(__name__)

Evaluate = Callable[[str, str], "Accuracy"]
START_TIMEOUT_S = 60
# A worker is lost at most this often before its candidate counts as failed: tried once more, then given up.
LOSSES_TOLERATED = 1
_IGNORE_INTERRUPT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

# A worker of somebody else's cluster may have several threads; a context evaluates one candidate at a time.
_ONE_AT_A_TIME = threading.Lock()


@lru_cache(maxsize=1)
def _context(spec_json: str) -> EvaluationContext:
    from bitfront.evaluators.context import EvaluationContext

    return EvaluationContext.from_spec(EvaluationSpec.from_json(json.loads(spec_json)))


def evaluate_on_worker(spec_json: str, config_json: str) -> Accuracy:
    """Scores a configuration on the search split, in the process that calls it.

    Args:
        spec_json: Canonical JSON of the evaluation spec; its model is loaded and calibrated once per process.
        config_json: JSON of the bit configuration.
    """
    config = BitConfig.from_json(json.loads(config_json))
    with _ONE_AT_A_TIME:
        return _context(spec_json).accuracy(config)


class DaskPool:
    """Evaluates on Dask workers: processes of this machine, or those of an existing scheduler.

    Workers ignore Ctrl-C, which is the coordinator's to handle, and end with the coordinator. One that dies
    is replaced by Dask and its candidate tried once more.

    Args:
        spec: What the workers load.
        workers: Processes to start; where ``cluster`` is given, how many of its workers to keep busy, 0 for
            all of them.
        cluster: Address of an existing scheduler, such as ``tcp://10.0.0.5:8786``.
        evaluate: Scores a configuration from two JSON texts; must be importable, or picklable, on a worker.

    Raises:
        UserError: The scheduler cannot be reached.
        BitfrontError: The workers did not start.
    """

    def __init__(
        self,
        spec: EvaluationSpec,
        workers: int = 1,
        cluster: str | None = None,
        evaluate: Evaluate = evaluate_on_worker,
    ) -> None:
        self._spec_json = spec.canonical()
        self._evaluate = evaluate
        self._completed: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._keys: dict[str, int] = {}
        self._futures: dict[int, Future] = {}
        self._cluster: LocalCluster | None = None
        if cluster is None:
            self._cluster = _start_cluster(workers, spec.threads or 1)
            self._client = _connect(self._cluster)
            self._workers = workers
        else:
            self._client = _connect(cluster)
            _wait_for_workers(self._client, cluster)
            self._workers = workers or max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    @property
    def workers(self) -> int:
        """How many candidates are evaluated at a time."""
        return self._workers

    @property
    def capacity(self) -> int:
        """One more than are evaluated, so that no worker waits for the coordinator's disk."""
        return self._workers + 1

    def submit(self, key: int, config: BitConfig) -> None:
        """Sends a candidate to a worker."""
        config_json = json.dumps(config.to_json(), sort_keys=True)
        future = self._client.submit(self._evaluate, self._spec_json, config_json, pure=False)
        self._keys[future.key] = key
        self._futures[key] = future
        future.add_done_callback(self._completed.put)

    def next_completed(self, timeout: float) -> Completed | None:
        """The next result, or None when none arrives within ``timeout`` seconds."""
        try:
            future = self._completed.get(timeout=timeout) if timeout > 0 else self._completed.get_nowait()
        except queue.Empty:
            return None
        key = self._keys.pop(future.key)
        del self._futures[key]
        return key, _outcome(future)

    def close(self) -> None:
        """Ends the workers that this pool started, busy or not, and leaves an existing scheduler as it is."""
        for future in self._futures.values():
            future.cancel()
        # A machine that is too busy to end them in time must not cost the search its result: workers end with
        # this process in any case.
        with _patiently("the client of the workers"):
            self._client.close(timeout=2)
        if self._cluster is not None:
            with _patiently("the workers"):
                self._cluster.close(timeout=5)


@contextmanager
def _patiently(what: str) -> Iterator[None]:
    """Logs that something took too long to end, and goes on."""
    try:
        yield
    except TimeoutError:
        logger.warning("%s took too long to end", what)


def _outcome(future: Future) -> Accuracy | EvaluationFailure:
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()  # type: ignore[no-any-return]  # distributed is untyped
    except KilledWorker:
        return EvaluationFailure(
            f"{LOSSES_TOLERATED + 1} workers died while evaluating it; the machine may be short of memory"
        )
    except CancelledError as error:
        raise BitfrontError(
            "the Dask scheduler was lost; what was evaluated is recorded: bring it back, then go on "
            "with --resume"
        ) from error
    except Exception as error:
        return EvaluationFailure.of(error)


def _start_cluster(workers: int, threads: int) -> LocalCluster:
    import dask.config
    from distributed import LocalCluster

    if workers < 1:
        raise UserError(f"--workers {workers}: give at least 1")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings = {
        "distributed.scheduler.allowed-failures": LOSSES_TOLERATED,
        "distributed.worker.preload": [_IGNORE_INTERRUPT],
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREAD_VARIABLES, threads),
    }
    try:
        with _interrupts_ignored(), dask.config.set(settings):
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
    except Exception as error:
        raise BitfrontError(f"the {workers} evaluation workers did not start: {error}") from error


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Lets processes that start meanwhile inherit that SIGINT is ignored (preloading would come too late)."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _connect(cluster: LocalCluster | str) -> Client:
    from distributed import Client

    try:
        return Client(cluster, timeout=START_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(
            f"--cluster {cluster} cannot be reached ({error}): give the address of a running Dask scheduler, "
            "such as tcp://10.0.0.5:8786"
        ) from error


def available_workers(device: str = "cpu") -> int:
    """How many worker processes suit this machine: one for each CPU that may be used, or one for a GPU."""
    return available_cpus() if device == "cpu" else 1


def _wait_for_workers(client: Client, address: str) -> None:
    """Raises :class:`UserError` where a scheduler has no workers and gets none."""
    try:
        client.wait_for_workers(1, timeout=START_TIMEOUT_S)
    except TimeoutError as error:
        raise UserError(
            f"--cluster {address} has no workers: start some with `dask worker {address}`"
        ) from error
