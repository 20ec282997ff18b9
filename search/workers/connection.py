"""The connection to a Dask scheduler: what it reports arrives as messages, and nothing here waits."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from bitfront.search.workers import messages
from bitfront.search.workers.bundle_transfer import send_bundle
from bitfront.search.workers.task import Answer, Evaluate, Prepare, Task, run_task
from bitfront.search.workers.worker_environment import WorkerEnvironment, describe_environment

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

logger = logging.getLogger(__name__)

LIST_EVERY_S = 0.5
RESTART_S = 30.0


class Connection:
    """A client of a scheduler; a lost one is never mended, but replaced by a new one.

    Args:
        target: The scheduler's address, or the local cluster.
        timeout_s: Seconds to wait for the scheduler.

    Raises:
        OSError: The scheduler cannot be reached in time.
        ValueError: The address is none.
    """

    def __init__(self, target: LocalCluster | str, timeout_s: float) -> None:
        from distributed import Client

        self.inbox: queue.SimpleQueue[messages.Message] = queue.SimpleQueue()
        self._topic = f"bitfront-{uuid.uuid4().hex}"
        self._futures: dict[int, Future] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of differing versions: admission tells them better
            self._client: Client = Client(target, timeout=timeout_s, set_as_default=False)
        self._client.subscribe_topic(self._topic, self._on_phase)
        self._client.subscribe_topic("worker-restart-memory", self._on_memory)
        self._client.subscribe_topic("all", self._on_any)
        self._start(self._watch)

    def send(
        self,
        address: str,
        attempt: int,
        task: tuple[str, str, float | None],
        how: tuple[Evaluate, Prepare | None],
    ) -> None:
        """Sends an attempt to one worker; its phases and its answer arrive as messages."""
        self._start(self._run, address, Task(self._topic, attempt, *task), how)

    def forget(self, attempt: int) -> None:
        """Gives an attempt up; a worker that is at it already goes on."""
        future = self._futures.pop(attempt, None)
        if future is not None:
            future.release()

    def ask_environment(self, address: str, paths: tuple[str, ...]) -> None:
        """Asks a worker to describe its environment."""
        self._start(self._ask_environment, address, paths)

    def send_bundle(self, address: str, spec_json: str, bundle: bytes) -> None:
        """Sends a worker what it needs to evaluate a spec."""
        self._start(self._send_bundle, address, spec_json, bundle)

    def listen_to(self, address: str) -> None:
        """Has a worker's own account of its end reported."""
        self._client.subscribe_topic(address, lambda event: self._on_worker(address, event))

    def restart(self, address: str) -> None:
        """Has a worker's nanny replace its process."""
        self._start(self._restart, address)

    def close(self, timeout_s: float) -> None:
        """Ends the client.

        Raises:
            TimeoutError: It took longer than ``timeout_s``.
        """
        self._client.close(timeout=timeout_s)

    def abandon(self) -> None:
        """Ends the client without waiting for anything: its scheduler is gone."""

        def close() -> None:
            try:
                self._client.close(timeout=2)
            except Exception:
                logger.debug("the client of a lost scheduler did not end well", exc_info=True)

        threading.Thread(target=close, daemon=True).start()

    def _start(self, coroutine: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        self._client.loop.add_callback(coroutine, *arguments)

    async def _watch(self) -> None:
        while self._client.status == "running":
            asked = time.monotonic()
            try:
                identity = await self._client.scheduler.identity(n_workers=-1)
            except Exception:
                logger.debug("the scheduler does not tell its workers", exc_info=True)
                break
            found = identity["workers"].items()
            nannies = {address: facts["nanny"] is not None for address, facts in found}
            running = frozenset(address for address, facts in found if facts["status"] == "running")
            self.inbox.put(messages.WorkerList(nannies, running, asked))
            await asyncio.sleep(LIST_EVERY_S)
        self.inbox.put(messages.Lost())

    async def _run(self, address: str, task: Task, how: tuple[Evaluate, Prepare | None]) -> None:
        from distributed import CancelledError, KilledWorker

        answer: Answer | Exception
        try:
            future = self._client.submit(
                run_task, task, *how, workers=[address], allow_other_workers=False, pure=False
            )
            self._futures[task.attempt] = future
            answer = await future
        except (CancelledError, KilledWorker):
            return  # forgotten, or the scheduler or the worker is lost, which is told otherwise
        except Exception as error:
            answer = error
        self._futures.pop(task.attempt, None)
        self.inbox.put(messages.Answered(task.attempt, answer, time.monotonic()))

    async def _on_worker_run(self, address: str, function: Callable[..., object], *arguments: object) -> Any:
        found = await self._client.run(function, *arguments, workers=[address])
        return found[address]

    async def _ask_environment(self, address: str, paths: tuple[str, ...]) -> None:
        environment: WorkerEnvironment | Exception
        try:
            environment = await self._on_worker_run(address, describe_environment, paths)
        except Exception as error:
            environment = error
        self.inbox.put(messages.Described(address, environment))

    async def _send_bundle(self, address: str, spec_json: str, bundle: bytes) -> None:
        failure: Exception | None = None
        try:
            await send_bundle(
                lambda function, *arguments: self._on_worker_run(address, function, *arguments),
                spec_json,
                bundle,
            )
        except Exception as error:
            failure = error
        self.inbox.put(messages.BundleSent(address, failure))

    async def _restart(self, address: str) -> None:
        try:
            await self._client.restart_workers([address], timeout=RESTART_S, raise_for_error=False)
        except Exception:
            logger.debug("restarting %s failed", address, exc_info=True)
        self.inbox.put(messages.Restarted(address))

    def _on_phase(self, event: tuple[float, dict[str, Any]]) -> None:
        told = event[1]
        self.inbox.put(messages.Announced(int(told["attempt"]), told["phase"], time.monotonic()))

    def _on_memory(self, event: tuple[float, dict[str, Any]]) -> None:
        self.inbox.put(messages.Short(str(event[1]["worker"])))

    def _on_any(self, event: tuple[float, dict[str, Any]]) -> None:
        if event[1].get("action") == "remove-worker":
            self.inbox.put(messages.Left(str(event[1]["worker"]), time.monotonic()))

    def _on_worker(self, address: str, event: tuple[float, dict[str, Any]]) -> None:
        if event[1].get("action") == "closing-worker":
            self.inbox.put(messages.Leaving(address))
