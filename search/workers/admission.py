"""The gate: workers take part once they are known to evaluate what the coordinator evaluates."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bitfront.search.problem.trial import (
    EvaluationFailure,
)
from bitfront.search.workers.connection import Connection
from bitfront.search.workers.messages import Equipped, Introduced, Roll
from bitfront.search.workers.worker_environment import Passport, objection

if TYPE_CHECKING:
    from bitfront.evaluators.context.bundle import ContextFingerprint


logger = logging.getLogger(__name__)


class Gate:
    """Checks the workers of a cluster and sends them what they need; those of this machine pass unasked.

    Args:
        passport: The coordinator's own, which others must equal; None to let every worker pass.
        spec_json: What is evaluated.
        paths: Files and folders that workers must have.
        bundle: What they are sent, if they are sent something.
        reference: What the coordinator's own context is made of, where theirs is to be compared with it.
    """

    def __init__(
        self,
        passport: Passport | None,
        spec_json: str,
        paths: tuple[str, ...] = (),
        bundle: bytes | None = None,
        reference: ContextFingerprint | None = None,
    ) -> None:
        self._passport = passport
        self._spec_json = spec_json
        self._paths = paths
        self._bundle = bundle
        self._reference = reference
        self.known: set[str] = set()
        self._asked: set[str] = set()
        self._left: dict[str, float] = {}
        self._compared: set[str] = set()
        self.barred: dict[str, str] = {}

    @property
    def decided(self) -> bool:
        """Whether some workers are known, and all of them have shown their passports."""
        return bool(self.known) and not self._asked

    @property
    def refusal(self) -> str | None:
        """Why no worker can take part; None while one can, or may come to."""
        return None if len(self.known) > len(self.barred) else next(iter(self.barred.values()), None)

    def admit(self, roll: Roll, connection: Connection) -> list[str]:
        """The workers of a roll that may take part at once; others that are new are asked first."""
        new = [
            address
            for address in roll.running
            if address not in self.known and self._left.get(address, 0.0) < roll.asked
        ]
        self.known.update(new)
        if self._passport is None:
            return new
        self._asked.update(new)
        for address in new:
            connection.introduce(address, self._paths)
        return []

    def introduced(self, message: Introduced, connection: Connection) -> bool:
        """Whether a worker that showed its passport may take part at once."""
        address, shown = message.address, message.passport
        self._asked.discard(address)
        if address not in self.known:
            return False
        assert self._passport is not None, "none was asked for"
        if isinstance(shown, Exception):
            reason = EvaluationFailure.of(shown).message
            refusal: str | None = (
                f"worker {address} cannot say what it runs ({reason}): install the same bitfront on every "
                "machine"
            )
        else:
            refusal = objection(address, shown, self._passport)
        if refusal is not None:
            self.bar(address, refusal)
            return False
        if self._bundle is not None:
            connection.equip(address, self._spec_json, self._bundle)
            return False
        return True

    def equipped(self, message: Equipped) -> bool:
        """Whether a worker that was sent its parcel may take part."""
        if message.error is not None and message.address in self.known:
            reason = EvaluationFailure.of(message.error).message
            self.bar(message.address, f"worker {message.address} could not be sent its data: {reason}")
        return message.error is None and message.address in self.known

    def differs(self, address: str, found: ContextFingerprint | None) -> bool:
        """Whether a worker turns out to evaluate something else, and is barred for it."""
        if self._reference is None or found is None or address in self._compared:
            return False
        self._compared.add(address)
        difference = self._reference.difference(found)
        if difference is not None:
            self.bar(address, f"worker {address} has {difference}: bring them in line, or pass --send-data")
            return True
        if self._reference.groundwork != found.groundwork:
            logger.warning(
                "worker %s prepared a model that differs in rounding (another processor): its accuracies may "
                "differ from those of others by some images; --send-data spares that",
                address,
            )
        return False

    def bar(self, address: str, reason: str) -> None:
        """Keeps a worker out for as long as it lives."""
        self.barred[address] = reason
        logger.warning("%s", reason)

    def forget(self, address: str, now: float) -> None:
        """Takes note that a worker is gone: whoever comes from this address next is new."""
        self.known.discard(address)
        self._asked.discard(address)
        self._compared.discard(address)
        self.barred.pop(address, None)
        self._left[address] = now
