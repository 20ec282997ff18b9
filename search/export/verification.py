"""Verifying an exported file against the evaluator, and what the bits of its configuration bring there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.deployment.graph.arithmetic import PACKED_BITS
from bitfront.evaluators.deployment.registry import files_of
from bitfront.evaluators.deployment.runtimes.registry import BITFRONT, runtime_named
from bitfront.evaluators.deployment.runtimes.runtime import FloatPrecision, KernelReport
from bitfront.evaluators.deployment.tolerance import Expected, Tolerance
from bitfront.evaluators.deployment.verification import Verification, verify
from bitfront.evaluators.preparation.log_base import LOG_BITS
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.tasks.task import Task
from bitfront.spaces import FORMATS, BitConfig
from bitfront.spaces.config import LayerBits
from bitfront.spaces.precision import MAX_BITS

GOLDEN = "a golden model: its integers are there to be compared, layer by layer, and not quick"


@dataclass(frozen=True)
class Verified:
    """An exported file, run beside the evaluator.

    Attributes:
        path: The file.
        file_bytes: Size of the file and of those that belong to it.
        runtime: What ran it.
        runtime_version: Of its library.
        precision: Of what is not quantized.
        digest: Of the configuration.
        figures: Its predictions beside the evaluator's.
        kernels: What the runtime executed it on.
        notes: What the bits bring less than one might expect there, a sentence each.
        evaluator_size_bytes: What the evaluator takes for its size; None where it was not asked.
        against: In words, where the evaluator's predictions come from; None at export.
    """

    path: Path
    file_bytes: int
    runtime: str
    runtime_version: str
    precision: FloatPrecision
    digest: str
    figures: Verification
    kernels: KernelReport
    notes: tuple[str, ...]
    evaluator_size_bytes: int | None = None
    against: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the file computes what was evaluated, within the tolerance."""
        return not self.figures.faults()

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        optional = {"evaluator_size_bytes": self.evaluator_size_bytes, "against": self.against}
        return {
            "file": self.path.name,
            "file_bytes": self.file_bytes,
            "runtime": self.runtime,
            "runtime_version": self.runtime_version,
            "precision": self.precision,
            "digest": self.digest,
            **self.figures.to_json(),
            "kernels": _kernels(self.kernels),
            "notes": list(self.notes),
            **{name: value for name, value in optional.items() if value is not None},
        }


@dataclass(frozen=True)
class Check:
    """What is verified and how.

    Attributes:
        path: The file.
        runtime: What runs it.
        precision: Of what is not quantized.
        threads: Of an inference.
        tolerance: How far it may be from the evaluator.
    """

    path: Path
    runtime: str
    precision: FloatPrecision
    threads: int
    tolerance: Tolerance

    @property
    def asks_second(self) -> bool:
        """Whether the tolerance takes account of what the evaluator's second set of kernels says."""
        return self.runtime != BITFRONT and not self.tolerance.exact

    def run(
        self,
        images: Sequence[PreprocessedImages],
        expected: Expected,
        config: BitConfig,
        task: Task,
        progress: ShareDone,
    ) -> Verified:
        """Classifies images by the file and compares its predictions with the evaluator's.

        Raises:
            UserError: The runtime cannot load the file.
            BitfrontError: The file yields no logits.
        """
        runtime = runtime_named(self.runtime)
        session = runtime.load(self.path, threads=self.threads, precision=self.precision)
        figures = verify(session, images, expected, self.tolerance, progress, task)
        kernels = session.kernels()
        return Verified(
            self.path,
            sum(path.stat().st_size for path in files_of(self.path)),
            self.runtime,
            runtime.version,
            self.precision,
            config.digest,
            figures,
            kernels,
            (GOLDEN,) if self.tolerance.exact else tuple(speed_notes(config, self.runtime, kernels)),
        )


def _kernels(report: KernelReport) -> dict[str, Any]:
    return {
        "products": report.total,
        "on_integers": report.on_integers,
        "by_kernel": [
            {"kernel": product.kernel, "integer": product.integer, "count": product.count}
            for product in report.products
        ],
    }


def speed_notes(config: BitConfig, runtime: str, report: KernelReport) -> list[str]:
    """What the bits of a configuration bring in a runtime, where that is less than one might expect."""
    if runtime == BITFRONT:
        return []
    weights = [_least(encoder.weights) for encoder in config.encoders]
    activations = sum(_least(encoder.activations) < MAX_BITS for encoder in config.encoders)
    attention = sum(_least(encoder.attention) <= LOG_BITS for encoder in config.encoders)
    notes = []
    if packed := sum(bits <= PACKED_BITS for bits in weights):
        notes.append(
            f"narrow weights of {packed} encoders are stored in 4 bits and multiplied as 8-bit integers: the "
            "file is smaller, the model no faster"
        )
    if wider := sum(PACKED_BITS < bits < MAX_BITS for bits in weights):
        notes.append(
            f"weights of 5 to 7 bits of {wider} encoders are stored and multiplied as 8-bit integers: the "
            "file is no smaller than with 8 bits, the model no faster"
        )
    if activations:
        notes.append(
            f"{runtime} has no kernel for narrow activations: those of {activations} encoders are 8-bit "
            "integers, clipped, rounded or read from tables, which takes time and gains none (recipe runtime "
            "has no tables)"
        )
    floats = report.total - report.on_integers
    if attention and floats:
        notes.append(
            f"{runtime} has no kernel for narrow attention: that of {attention} encoders is computed in "
            "float, which takes time and gains none (recipe runtime has it in 8-bit integers)"
        )
    elif attention:
        notes.append(
            f"{runtime} has no kernel for narrow attention: that of {attention} encoders is rounded and "
            "multiplied as 8-bit integers, which takes a little time and gains none"
        )
    if floats:
        notes.append(f"{floats} of {report.total} matrix products run on float kernels")
    return notes


def _least(formats: LayerBits) -> int:
    """Bits of the narrowest format."""
    values = [value for _, value in formats] if isinstance(formats, tuple) else [formats]
    return min(FORMATS[value].bits for value in values)
