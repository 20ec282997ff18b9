"""Verifying an exported file against the evaluator, and telling what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.deployment.formats import load_file
from bitfront.evaluators.deployment.graph.arithmetic import PACKED_BITS
from bitfront.evaluators.deployment.graph_files import CONSTANTS, SUFFIX
from bitfront.evaluators.deployment.registry import BITFRONT
from bitfront.evaluators.deployment.runtimes.runtime import FloatPrecision, KernelReport
from bitfront.evaluators.deployment.verification import Expected, Tolerance, verify
from bitfront.evaluators.preparation.log_base import (
    LOG_BITS,
)
from bitfront.evaluators.progress import ShareDone
from bitfront.search.problem.spec import bitfront_version
from bitfront.spaces import BitConfig
from bitfront.spaces.config import LayerBits
from bitfront.spaces.precision import MAX_BITS

if TYPE_CHECKING:
    from rich.console import Console


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

    def files(self) -> list[Path]:
        """The file and what belongs to it."""
        constants = self.path.with_suffix(CONSTANTS)
        return [self.path, *([constants] if self.path.suffix == SUFFIX and constants.exists() else [])]

    def run(
        self,
        images: Sequence[PreprocessedImages],
        expected: Expected,
        config: BitConfig,
        progress: ShareDone,
    ) -> dict[str, Any]:
        """The figures of a verification, as JSON has them."""
        session = load_file(self.path, self.runtime, threads=self.threads, precision=self.precision)
        found = verify(session, images, expected, self.tolerance, progress)
        kernels = session.kernels()
        return {
            "file": self.path.name,
            "file_bytes": sum(path.stat().st_size for path in self.files()),
            "runtime": self.runtime,
            "runtime_version": _version(self.runtime),
            "precision": self.precision,
            "digest": config.digest,
            **found.to_json(),
            "kernels": _kernels(kernels),
            "notes": speed_notes(config, self.runtime, kernels),
        }


def _version(runtime: str) -> str:
    from importlib.metadata import version

    return bitfront_version() if runtime == BITFRONT else version(runtime)


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
    attention = sum(encoder.attention <= LOG_BITS for encoder in config.encoders)
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
            "integers, clipped or read from tables, which takes time and gains none"
        )
    if attention:
        notes.append(
            f"{runtime} has no kernel for narrow attention: that of {attention} encoders is computed in "
            "float, which takes time and gains none"
        )
    if report.on_integers < report.total:
        floats = report.total - report.on_integers
        notes.append(f"{floats} of {report.total} matrix products run on float kernels")
    return notes


def _least(bits: LayerBits) -> int:
    return bits if isinstance(bits, int) else min(dict(bits).values())


def print_verification(report: dict[str, Any], console: Console) -> None:
    """Prints a verification for a person."""
    products = report["kernels"]["products"]
    kernels = f", {report['kernels']['on_integers']} of {products} matrix products on integer kernels"
    console.print(
        f"{report['file']}: {report['file_bytes'] / 1e6:.3f} MB, {report['runtime']} "
        f"{report['runtime_version']}{kernels if products else ''}",
        soft_wrap=True,
    )
    difference, error = report["top1_difference"], report["top1_difference_standard_error"]
    console.print(
        f"top-1 {report['top1']:.2f} %, evaluator {report['evaluator_top1']:.2f} %: {difference:+.2f} "
        f"\N{PLUS-MINUS SIGN} {error:.2f} points on {report['images']} images (allowed "
        f"{report['largest_top1_difference']:.2f})",
        soft_wrap=True,
    )
    floor = report["evaluator_kernels_equal"]
    own = "" if floor is None else f"; the evaluator's two sets of kernels agree on {floor:.2f} %"
    console.print(
        f"equal predictions {report['equal_predictions']:.2f} % (at least "
        f"{report['least_equal_predictions']:.2f} %{own})",
        soft_wrap=True,
    )
    for note in report["notes"]:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(
        "verified" if report["passed"] else f"NOT VERIFIED: {'; '.join(report['faults'])}", soft_wrap=True
    )
