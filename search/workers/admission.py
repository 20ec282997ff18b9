"""Admission: workers take part once they are known to evaluate what the coordinator does."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.workers.connection import Connection
from bitfront.search.workers.messages import BundleSent, Described, WorkerList
from bitfront.search.workers.worker_environment import WorkerEnvironment, objection

if TYPE_CHECKING:
    from bitfront.evaluators.context.bundle import ContextFingerprint

logger = logging.getLogger(__name__)


@dataclass
class Admission:
    """Checks the workers of a cluster and sends them what they need; admits those of this machine unasked.

    Attributes:
        environment: The coordinator's own, which others must equal; None to admit every worker.
        spec_json: What is evaluated.
        paths: Files and folders that workers must have.
        bundle: What they are sent, if they are sent something.
        reference: What the coordinator's own context is made of, where theirs is to be compared with it.
        known: Addresses of the workers that are there.
        rejected: Why some of them may not take part, by address.
    """

    environment: WorkerEnvironment | None
    spec_json: str
    paths: tuple[str, ...] = ()
    bundle: bytes | None = None
    reference: ContextFingerprint | None = None
    known: set[str] = field(default_factory=set, init=False)
    rejected: dict[str, str] = field(default_factory=dict, init=False)
    _asked: set[str] = field(default_factory=set, init=False)
    _left: dict[str, float] = field(default_factory=dict, init=False)
    _compared: set[str] = field(default_factory=set, init=False)

    @property
    def decided(self) -> bool:
        """Whether some workers are known, and all of them have described their environments."""
        return bool(self.known) and not self._asked

    @property
    def refusal(self) -> str | None:
        """Why no worker can take part; None while one can, or may come to."""
        return None if len(self.known) > len(self.rejected) else next(iter(self.rejected.values()), None)

    def admit(self, listed: WorkerList, connection: Connection) -> list[str]:
        """The listed workers that may take part at once; others that are new are asked first."""
        new = [
            address
            for address in listed.running
            if address not in self.known and self._left.get(address, 0.0) < listed.asked
        ]
        self.known.update(new)
        if self.environment is None:
            return new
        self._asked.update(new)
        for address in new:
            connection.ask_environment(address, self.paths)
        return []

    def described(self, message: Described, connection: Connection) -> bool:
        """Whether a worker that described its environment may take part at once."""
        address, found = message.address, message.environment
        self._asked.discard(address)
        if address not in self.known:
            return False
        assert self.environment is not None, "none was asked for"
        if isinstance(found, Exception):
            reason = EvaluationFailure.of(found).message
            refusal: str | None = (
                f"worker {address} cannot say what it runs ({reason}): install the same bitfront on every "
                "machine"
            )
        else:
            refusal = objection(address, found, self.environment)
        if refusal is not None:
            self.reject(address, refusal)
            return False
        if self.bundle is not None:
            connection.send_bundle(address, self.spec_json, self.bundle)
            return False
        return True

    def bundle_sent(self, message: BundleSent) -> bool:
        """Whether a worker that was sent its bundle may take part."""
        if message.error is not None and message.address in self.known:
            reason = EvaluationFailure.of(message.error).message
            self.reject(message.address, f"worker {message.address} could not be sent its data: {reason}")
        return message.error is None and message.address in self.known

    def differs(self, address: str, found: ContextFingerprint | None) -> bool:
        """Whether a worker turns out to evaluate something else, and is rejected for it."""
        if self.reference is None or found is None or address in self._compared:
            return False
        self._compared.add(address)
        difference = self.reference.difference(found)
        if difference is not None:
            self.reject(
                address, f"worker {address} has {difference}: bring them in line, or pass --send-data"
            )
            return True
        if self.reference.calibration != found.calibration:
            logger.warning(
                "worker %s prepared a model that differs in rounding (another processor): its accuracies may "
                "differ from those of others by some images; --send-data spares that",
                address,
            )
        return False

    def reject(self, address: str, reason: str) -> None:
        """Keeps a worker out for as long as it lives."""
        self.rejected[address] = reason
        logger.warning("%s", reason)

    def forget(self, address: str, now: float) -> None:
        """Takes note that a worker is gone: whoever comes from this address next is new."""
        self.known.discard(address)
        self._asked.discard(address)
        self._compared.discard(address)
        self.rejected.pop(address, None)
        self._left[address] = now
