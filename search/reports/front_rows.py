"""The rows of a front table, reference models first, and what a reader must know beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bitfront.evaluators.context.significance import PairedComparison, standard_error
from bitfront.search.export.selection import KNEE, pick
from bitfront.search.problem.references import FLOAT_NAME, Reference
from bitfront.search.runs.columns import MeanBits, mean_bits
from bitfront.search.runs.reader import RecordedRun

_UNIFORM = re.compile(r"W(\d+)A(\d+)T(\d+)")
_FLOAT_BITS = MeanBits(32.0, 32.0, 32.0)
_UNKNOWN_BITS = MeanBits(math.nan, math.nan, math.nan)
SHOWN_FAILURES = 3


class FrontRow(NamedTuple):
    """One row; NaN where a value is not known.

    Attributes:
        name: Trial number, or the name of a reference model.
        reference: Whether it is a reference model.
        knee: Whether it is the knee.
        digest: The configuration's digest; empty for a reference.
        top1: Top-1 on the search split in percent.
        test_top1: Top-1 on the test split in percent.
        loss: Cross-entropy on the search split in nats.
        latency_ms: Latency from the run's source in milliseconds.
        latency_measured_ms: Measured whole-model latency in milliseconds.
        size_bytes: Packed size in bytes.
        size_share: Size as a share of the float model's.
        bits: Mean bits of each kind.
        against_float: Comparison with the float model on the search split, where it was recorded.
        test_against_float: The same on the test split.
    """

    name: str
    reference: bool
    knee: bool
    digest: str
    top1: float
    test_top1: float
    loss: float
    latency_ms: float
    latency_measured_ms: float
    size_bytes: float
    size_share: float
    bits: MeanBits
    against_float: PairedComparison | None = None
    test_against_float: PairedComparison | None = None


def front_rows(run: RecordedRun) -> list[FrontRow]:
    """The reference models and the front of a run."""
    base = run.float_reference
    whole = base.size_bytes if base else math.nan
    knee = int(pick(run.front, KNEE, run.objectives)["trial"]) if len(run.front) else None
    rows = [_reference_row(reference, whole) for reference in run.references]
    trials = {trial["trial"]: trial for trial in run.trials.to_dict("records")}
    for point in run.front.sort_values(["size_bytes", "latency_ms", "trial"]).to_dict("records"):
        number: Any = point["trial"]
        known = {str(name): value for name, value in {**trials.get(number, {}), **point}.items()}
        own = {"digest": str(point["digest"]), "bits": mean_bits(known, run.genes)}
        rows.append(_row(known, base, whole, name=str(number), reference=False, knee=number == knee, **own))
    return rows


def _reference_row(reference: Reference, whole: float) -> FrontRow:
    match = _UNIFORM.fullmatch(reference.name)
    bits = MeanBits(*map(float, match.groups())) if match else _UNKNOWN_BITS
    known = {"digest": "", "bits": _FLOAT_BITS if reference.name == FLOAT_NAME else bits}
    return _row(
        reference.to_json(), reference, whole, name=reference.name, reference=True, knee=False, **known
    )


def _row(known: Mapping[str, Any], counted: Reference | None, whole: float, **given: Any) -> FrontRow:
    """A row of what is known of a model; ``counted`` says on how many images it was compared."""

    def number(name: str) -> float:
        value = known.get(name)
        return math.nan if value is None else value

    images, test_images = (counted.images, counted.test_images) if counted else (None, None)
    names = ("top1", "test_top1", "loss", "latency_ms", "latency_measured_ms", "size_bytes")
    figures: dict[str, Any] = {name: number(name) for name in names}
    return FrontRow(
        **figures,
        size_share=number("size_bytes") / whole,
        against_float=_comparison(images, known.get("lost"), known.get("won")),
        test_against_float=_comparison(test_images, known.get("test_lost"), known.get("test_won")),
        **given,
    )


def _comparison(images: float | None, lost: float | None, won: float | None) -> PairedComparison | None:
    """None where a count is not known, as in runs of earlier versions."""
    counts = [count for count in (images, lost, won) if count is not None and not math.isnan(count)]
    return PairedComparison(*map(int, counts)) if len(counts) == 3 else None


def latency_notes(run: RecordedRun, rows: Sequence[FrontRow]) -> list[str]:
    """What timed whole models, where any were."""
    if all(math.isnan(row.latency_measured_ms) for row in rows):
        return []
    return [f"measured: whole models, run in turn at the end of the search ({run.latency_measured_source})"]


def accuracy_notes(run: RecordedRun, rows: Sequence[FrontRow]) -> list[str]:
    """How uncertain a top-1 is on each split, and which split the points were chosen on."""
    base = run.float_reference
    if base is None:
        return []
    points = [row for row in rows if not row.reference]
    errors = [
        *_largest_error([row.top1 for row in points], base.images, "search"),
        *_largest_error([row.test_top1 for row in points], base.test_images, "test"),
    ]
    if not errors:
        return []
    notes = [f"standard error of a top-1: {', '.join(errors)}; vs float: paired, on the same images"]
    if base.test_images is not None:
        notes.append("points were chosen by their top-1 on the search split, which flatters them there")
    return notes


def _largest_error(accuracies: Sequence[float], images: int | None, split: str) -> list[str]:
    known = [top1 for top1 in accuracies if not math.isnan(top1)]
    if images is None or not known:
        return []
    largest = max(standard_error(top1, images) for top1 in known)
    return [f"up to {largest:.2f} points on {images} {split} images"]


def failure_notes(run: RecordedRun) -> list[str]:
    """Which trials failed and why, as the evaluation worded it."""
    failures = run.failures
    notes = []
    for entry in failures[:SHOWN_FAILURES]:
        first, *others = entry["trials"]
        more = f" and {len(others)} more" if others else ""
        notes.append(f"trial {first}{more} failed: {entry['error']}")
    if len(failures) > SHOWN_FAILURES:
        notes.append(f"{len(failures) - SHOWN_FAILURES} more reasons of failures are in trials.csv")
    tested: Mapping[str, Any] = run.summary.get("test_failures") or {}
    return notes + [f"trial {number} failed on the test split: {error}" for number, error in tested.items()]
