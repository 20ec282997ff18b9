"""What a reader of a front must know beside its table: what timed it, how far to trust it, what failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bitfront.evaluators.significance import standard_error
from bitfront.search.front_rows import FrontRow
from bitfront.search.run_reader import Run

SHOWN_FAILURES = 3


def latency_notes(run: Run, rows: Sequence[FrontRow]) -> list[str]:
    """What timed whole models, where any were."""
    if all(math.isnan(row.latency_measured_ms) for row in rows):
        return []
    return [f"measured: whole models, run in turn at the end of the search ({run.latency_measured_source})"]


def accuracy_notes(run: Run, rows: Sequence[FrontRow]) -> list[str]:
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
    if not math.isnan(base.test_images):
        notes.append("points were chosen by their top-1 on the search split, which flatters them there")
    return notes


def _largest_error(accuracies: Sequence[float], images: float, split: str) -> list[str]:
    known = [top1 for top1 in accuracies if not math.isnan(top1)]
    if math.isnan(images) or not known:
        return []
    largest = max(standard_error(top1, int(images)) for top1 in known)
    return [f"up to {largest:.2f} points on {int(images)} {split} images"]


def failure_notes(run: Run) -> list[str]:
    """Which trials failed and why, as the evaluation worded it."""
    failures = run.failures
    notes = [f"{_named(entry['trials'])} failed: {entry['error']}" for entry in failures[:SHOWN_FAILURES]]
    if len(failures) > SHOWN_FAILURES:
        notes.append(f"{len(failures) - SHOWN_FAILURES} more reasons of failures are in trials.csv")
    tested: Mapping[str, Any] = run.summary.get("test_failures") or {}
    return notes + [f"trial {number} failed on the test split: {error}" for number, error in tested.items()]


def _named(numbers: Sequence[int]) -> str:
    first = f"trial {numbers[0]}"
    more = len(numbers) - 1
    return f"{first} and {more} more" if more else first
