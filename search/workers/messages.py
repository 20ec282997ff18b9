"""Messages: what the connection to a scheduler reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bitfront.search.workers.task import Answer, Phase
from bitfront.search.workers.worker_environment import WorkerEnvironment


@dataclass(frozen=True)
class WorkerList:
    """The workers that the scheduler has.

    Attributes:
        nannies: Whether it has a nanny, for every worker by address.
        running: Those that may be sent tasks: a paused one, short of memory, may not.
        asked: Monotonic time at which the scheduler was asked, in seconds.
    """

    nannies: Mapping[str, bool]
    running: frozenset[str]
    asked: float


@dataclass(frozen=True)
class Described:
    """A worker described its environment, or failed to."""

    address: str
    environment: WorkerEnvironment | Exception


@dataclass(frozen=True)
class BundleSent:
    """A worker was sent its bundle, or could not be."""

    address: str
    error: Exception | None


@dataclass(frozen=True)
class Announced:
    """A worker has reached a phase of an attempt."""

    attempt: int
    phase: Phase
    at: float


@dataclass(frozen=True)
class Answered:
    """An attempt has its answer, or failed for a reason of Dask's."""

    attempt: int
    answer: Answer | Exception
    at: float


@dataclass(frozen=True)
class Short:
    """A worker is about to be ended, because it takes more memory than it may."""

    address: str


@dataclass(frozen=True)
class Leaving:
    """A worker ends in good order, such as at the end of its lifetime or at Ctrl-C."""

    address: str


@dataclass(frozen=True)
class Left:
    """The scheduler has lost a worker, in whatever order."""

    address: str
    at: float


@dataclass(frozen=True)
class Restarted:
    """A restart has ended, well or not."""

    address: str


@dataclass(frozen=True)
class Lost:
    """The scheduler is gone."""


Message = (
    WorkerList | Described | BundleSent | Announced | Answered | Short | Leaving | Left | Restarted | Lost
)
