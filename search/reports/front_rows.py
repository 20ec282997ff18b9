"""The rows of a front table, reference models first, and what a reader must know beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.quality import PairedComparison, resamplings, standard_error
from bitfront.search.export.evidence import LATENCY_ERRORS, evidence_of, latency_noise
from bitfront.search.export.selection import DefaultChoice, default_choice, shortlist_of, standing
from bitfront.search.problem.objectives import COSTS, ESTIMATE, ESTIMATE_ERROR
from bitfront.search.problem.references import FLOAT_NAME, Reference
from bitfront.search.problem.wording import (
    Difference,
    against_float,
    difference,
    further_costs,
    is_modelled,
    same_source,
    stand_behind,
)
from bitfront.search.runs.columns import DIFFERENCE_ERROR, MeanBits, Schema, gene_columns_named, mean_bits
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import FORMATS, UserError, parse_uniform
from bitfront.spaces.quantities import count_of

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
        quality: The metric that the front is judged by, on the search split.
        test_quality: The same on the test split.
        metrics: Metrics that front.csv has, by their columns.
        latency_ms: Latency from the run's source in milliseconds.
        latency_measured_ms: Measured whole-model latency in milliseconds.
        size_bytes: Packed size in bytes.
        size_share: Size as a share of the float model's.
        bits: Mean bits of each kind.
        against_float: Images that one of this and the float model gets right, on the search split, where
            they were recorded.
        test_against_float: The same on the test split.
        difference: To the float model in quality, on the search split.
        test_difference: The same on the test split.
        estimate: What the quality is on other images, estimated from all trials of the run; NaN if unknown.
        estimate_error: Its standard error.
        estimated: Its difference to the float model.
        stands_for: Number of the listed trial that stands for it, its own where it is listed; None for a
            reference.
        alike: How many points it stands for that no test tells to be better, at no less cost.
        near: How many others it stands for, to keep the list short.
        words: What it costs against the float model in plain words; empty for that itself.
        further: Further costs by column, where the search asked for them.
    """

    name: str
    reference: bool
    knee: bool
    digest: str
    quality: float
    test_quality: float
    metrics: Mapping[str, float]
    latency_ms: float
    latency_measured_ms: float
    size_bytes: float
    size_share: float
    bits: MeanBits
    against_float: PairedComparison | None = None
    test_against_float: PairedComparison | None = None
    difference: Difference | None = None
    test_difference: Difference | None = None
    estimate: float = math.nan
    estimate_error: float = math.nan
    estimated: Difference | None = None
    stands_for: int | None = None
    alike: int = 0
    near: int = 0
    words: str = ""
    further: Mapping[str, float] = {}

    @property
    def listed(self) -> bool:
        """Whether it is shown unless all points are asked for."""
        return self.reference or str(self.stands_for) == self.name


def front_rows(run: RecordedRun) -> list[FrontRow]:
    """The reference models and the front of a run."""
    base = run.float_reference
    whole = base.size_bytes if base else math.nan
    star, listed = default_choice(run), shortlist_of(run)
    representatives = standing(listed)
    rows = [_reference_row(run.schema, reference, base, whole) for reference in run.references]
    trials = {trial["trial"]: trial for trial in run.trials.to_dict("records")}
    for point in run.front.sort_values(["size_bytes", "latency_ms", "trial"]).to_dict("records"):
        number: Any = point["trial"]
        known = {str(name): value for name, value in {**trials.get(number, {}), **point}.items()}
        own: dict[str, Any] = {"digest": str(point["digest"]), "bits": _bits(run, known)}
        behind = listed.get(number)
        own |= {"alike": len(behind.alike), "near": len(behind.near)} if behind else {}
        rows.append(
            _row(
                run.schema,
                known,
                base,
                base,
                whole,
                name=str(number),
                reference=False,
                knee=star is not None and number == star.trial,
                stands_for=representatives[number],
                **own,
            )
        )
    return [row._replace(words=row_words(run, row, base)) for row in rows]


def _bits(run: RecordedRun, row: Mapping[str, Any]) -> MeanBits:
    """Mean bits of each kind, genes that were not searched among them."""
    return mean_bits({**run.settled, **row}, (*run.genes, *gene_columns_named(run.settled)))


def row_words(run: RecordedRun, row: FrontRow, base: Reference | None) -> str:
    """What a row costs in plain words, on the test split and whole models as far as they were measured."""
    if base is None or row.name == FLOAT_NAME:
        return ""
    speed, modelled = base.latency_ms / row.latency_ms, is_modelled(run.latency_source)
    whole = (base.latency_measured_ms or math.nan) / row.latency_measured_ms
    if same_source(run.latency_source, run.latency_measured_source) and not math.isnan(whole):
        speed = whole
    words = against_float(
        row.test_difference or row.estimated or row.difference,
        run.quality.unit,
        row.size_share,
        speed,
        modelled,
        LATENCY_ERRORS * latency_noise(run),
        {
            shown.cost.name: row.further[shown.cost.column] / (base.known(shown.cost.column) or math.nan)
            for shown in further_costs(row.further)
        },
    )
    return "; ".join(part for part in (words, stand_behind(row.alike, row.near)) if part)


def star_note(run: RecordedRun, star: DefaultChoice | None) -> str:
    """Why the starred point is starred, in one line; empty where there is none."""
    metric = run.quality
    unit = "points" if metric.unit == "%" else metric.unit
    if star is None:
        return ""
    if len(run.front) == 1:
        return f"trial {star.trial}, the only point"
    if star.best is None or star.difference is None:
        judged = any(name not in COSTS for name in run.objectives)
        why = f": how far chance moved {metric.title} is not known" if judged else ""
        return f"trial {star.trial}, the compromise nearest to the best of each objective{why}"
    drop = f"{star.drop:g} {'point' if unit == 'points' and star.drop == 1 else unit}".rstrip()
    worse = f"more than {drop} worse" if star.drop else "worse"
    if star.trial == star.best:
        return f"trial {star.trial}, the best point: all cheaper ones are shown to be {worse}"
    shown = Difference(metric.sign * star.difference.value, star.difference.error)
    return (
        f"trial {star.trial}, the cheapest point not shown to be {worse} than the best (trial {star.best}): "
        f"{difference(shown, metric.shown_decimals)} {unit}".rstrip()
    )


def _reference_row(schema: Schema, reference: Reference, base: Reference | None, whole: float) -> FrontRow:
    bits = _uniform_bits(reference.name)
    known = {"digest": "", "bits": _FLOAT_BITS if reference.name == FLOAT_NAME else bits}
    return _row(
        schema,
        reference.to_json(),
        reference,
        None if reference.name == FLOAT_NAME else base,
        whole,
        name=reference.name,
        reference=True,
        knee=False,
        **known,
    )


def _uniform_bits(name: str) -> MeanBits:
    """Of a reference that is called by its formats, such as ``W8A8T8``."""
    try:
        return MeanBits(*(float(FORMATS[value].bits) for value in parse_uniform(name)))
    except UserError:
        return _UNKNOWN_BITS


def _row(
    schema: Schema,
    known: Mapping[str, Any],
    counted: Reference | None,
    base: Reference | None,
    whole: float,
    **given: Any,
) -> FrontRow:
    """A row of what is known of a model.

    ``counted`` says on how many images it was compared, ``base`` is the float model, None for itself.
    """

    def number(name: str) -> float:
        value = known.get(name)
        return math.nan if value is None else value

    images, test_images = (counted.images, counted.test_images) if counted else (None, None)
    quality, task = schema.quality, schema.task
    compared = _comparison(images, known.get("lost"), known.get("won"))
    test_compared = _comparison(test_images, known.get("test_lost"), known.get("test_won"))
    if quality.name == task.counted:
        differences = [None if one is None else Difference.of(one) for one in (compared, test_compared)]
    else:
        tested_error = number(DIFFERENCE_ERROR)
        values, tested = (base.values, base.test_values) if base else ({}, {})
        differences = [
            _difference(number(quality.name), values.get(quality.name), None),
            _difference(
                number(f"test_{quality.name}"),
                tested.get(quality.name),
                None if math.isnan(tested_error) else tested_error,
            ),
        ]
    figures: dict[str, Any] = {
        name: number(name) for name in ("latency_ms", "latency_measured_ms", "size_bytes")
    }
    estimate, error = number(f"{quality.name}{ESTIMATE}"), number(f"{quality.name}{ESTIMATE_ERROR}")
    float_value = base.values.get(quality.name) if base else None
    return FrontRow(
        estimate=estimate,
        estimate_error=error,
        estimated=_difference(estimate, float_value, error),
        quality=number(quality.name),
        test_quality=number(f"test_{quality.name}"),
        metrics={name: number(name) for name in schema.metric_columns},
        **figures,
        size_share=number("size_bytes") / whole,
        further={shown.cost.column: number(shown.cost.column) for shown in further_costs(known)},
        against_float=compared,
        test_against_float=test_compared,
        difference=differences[0],
        test_difference=differences[1],
        **given,
    )


def _difference(value: float, base: float | None, error: float | None) -> Difference | None:
    return None if base is None or math.isnan(value) else Difference(value - base, error)


def _comparison(images: float | None, lost: float | None, won: float | None) -> PairedComparison | None:
    """None where a count is not known, as in runs of earlier versions."""
    counts = [count for count in (images, lost, won) if count is not None and not math.isnan(count)]
    return PairedComparison(*map(int, counts)) if len(counts) == 3 else None


def shortlist_notes(run: RecordedRun, rows: Sequence[FrontRow], all_of_them: str = "") -> list[str]:
    """How many points the listed ones stand for, why these are not shown, and where they are."""
    points = [row for row in rows if not row.reference]
    listed = [row for row in points if row.listed]
    if len(listed) == len(points):
        return []
    near, found = sum(row.near for row in listed), evidence_of(run).differences
    told = (
        "not told to be better by a test of both errors, as if independent" if found.known else "not better"
    )
    told = "not told to be better by a paired test" if found.paired else told
    others = f"; near: {near} that differ, left out to keep the list short" * (near > 0)
    shown = f"; all of them: {all_of_them}" if all_of_them else ""
    return [
        f"{len(listed)} of {len(points)} points stand for the others (alike: nowhere cheaper, and "
        f"{told}{others}){shown}"
    ]


def price_notes(run: RecordedRun) -> list[str]:
    """What must be known of latencies that the search did not go by; nothing of a run as it was searched."""
    return [] if run.prices is None else [f"prices: {note}" for note in run.prices.notes]


def latency_notes(run: RecordedRun, rows: Sequence[FrontRow]) -> list[str]:
    """What timed whole models, where any were."""
    if all(math.isnan(row.latency_measured_ms) for row in rows):
        return []
    return [f"measured: whole models, run in turn at the end of the search ({run.latency_measured_source})"]


def accuracy_notes(run: RecordedRun, rows: Sequence[FrontRow]) -> list[str]:
    """How uncertain the quality is on each split, and which split the points were chosen on."""
    base = run.float_reference
    if base is None:
        return []
    points, quality = [row for row in rows if not row.reference], run.quality
    notes = _error_notes(points, base, quality, quality.name == run.schema.task.counted)
    if notes and base.test_images is not None:
        chosen = f"their {quality.title} on the search split, which flatters them there"
        if any(not math.isnan(row.estimate) for row in points):
            chosen = f"estimates of their {quality.title} on other images, not by counts"
        notes.append(f"points were chosen by {chosen}")
    return notes


def _error_notes(points: Sequence[FrontRow], base: Reference, quality: Metric, counted: bool) -> list[str]:
    if not counted:
        largest = max(
            (row.test_difference.error or 0.0 for row in points if row.test_difference), default=0.0
        )
        if not largest:
            return []
        draws = resamplings((base.test_images or 0) * (base.classes or 0))
        how = "paired" if quality.per_image else f"that of {draws} resamplings of them, paired"
        return [
            f"vs float: in {quality.title}; its standard error on {base.test_images} test images, up to "
            f"{quality.number(largest)}, is {how}"
        ]
    errors = [
        *_largest_error([row.quality for row in points], base.images, "search"),
        *_largest_error([row.test_quality for row in points], base.test_images, "test"),
    ]
    if not errors:
        return []
    return [f"standard error of a {quality.title}: {', '.join(errors)}; vs float: paired, on the same images"]


def _largest_error(shares: Sequence[float], images: int | None, split: str) -> list[str]:
    known = [share for share in shares if not math.isnan(share)]
    if images is None or not known:
        return []
    largest = max(standard_error(share, images) for share in known)
    return [f"up to {largest:.2f} points on {count_of(images, f'{split} image')}"]


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
