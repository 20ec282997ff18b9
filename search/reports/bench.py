"""A benchmark as JSON, CSV, Markdown and as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators import files
from bitfront.evaluators.context.machine import cpu_name
from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.problem.wording import MISSING
from bitfront.search.reports.bench_findings import EAGER, reference_of
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.published_vq_vit import published_vq_vit
from bitfront.search.reports.tables import Table, markdown_page

if TYPE_CHECKING:
    from bitfront.evaluators.context.spec import EvaluationSpec
    from bitfront.evaluators.latency.bench.measuring import Measured
    from bitfront.evaluators.tasks.quality import Quality

Document = dict[str, Any]
TESTED = "test_right"
JOULES = "joules_per_image"
_PACKAGES = ("torch", "openvino", "onnxruntime")


def bench_document(
    spec: EvaluationSpec,
    weights: str,
    rows: Sequence[Measured],
    sentences: Sequence[str],
    notes: Sequence[str],
    interrupted: bool,
    tested: Mapping[str, Quality] | None = None,
) -> Document:
    """Everything that is known of a benchmark; rows by batch and time.

    Args:
        spec: Of the model.
        weights: Where they come from.
        rows: What was measured.
        sentences: What it says.
        notes: What is missing, and why.
        interrupted: Whether not all was measured that should have been.
        tested: Qualities on the test images by variant; None or empty where nothing was classified.
    """
    from bitfront.evaluators.context.machine import describe_environment

    references, counted = reference_of(rows), any(row.joules_per_image is not None for row in rows)
    ordered = sorted(rows, key=lambda row: (row.batch, row.p50_ms))
    packages, task = describe_environment()["packages"], task_named(spec.task)
    published = published_vq_vit().lines(spec.model, spec.data, cpu_name()) if tested else []
    return {
        "model": spec.model,
        "weights": weights,
        "scheme": spec.scheme,
        "recipe": spec.recipe,
        "without": list(spec.without),
        "machine": cpu_name(),
        "threads": 1,
        "packages": {name: packages[name] for name in _PACKAGES if packages[name] is not None},
        "rows": [
            _row(row, references[row.batch]) | _energy(row, counted) | _quality(row, tested, task.counted)
            for row in ordered
        ],
        "findings": list(sentences),
        "notes": list(notes),
        "published": published,
        "interrupted": interrupted,
    }


def _row(row: Measured, reference: Measured) -> Document:
    label = row.label
    return {
        "batch": row.batch,
        "contestant": label.short,
        "model": label.model,
        "variant": label.variant,
        "kind": label.kind,
        "runtime": label.runtime,
        "rest": label.rest,
        "baseline": label.baseline,
        "p50_ms": row.p50_ms,
        "p90_ms": row.p90_ms,
        "images_per_second": row.images_per_second,
        "times_eager_float32": reference.p50_ms / row.p50_ms,
        **conditions(row),
    }


def _energy(row: Measured, counted: bool) -> Document:
    """Joules of an image, where the processor counted those of any row."""
    return {JOULES: row.joules_per_image} if counted else {}


def _quality(row: Measured, tested: Mapping[str, Quality] | None, counted: str) -> Document:
    """Test images decided right, in percent, and the paired difference to float32, in points."""
    if not tested:
        return {}
    found = None if row.label.baseline else tested.get(row.label.variant)
    beside = None if found is None else found.against_float
    return {
        TESTED: None if found is None else found[counted],
        f"{TESTED}_change": None if beside is None else beside.difference,
        f"{TESTED}_change_standard_error": None if beside is None else beside.difference_standard_error,
    }


def conditions(row: Measured) -> Document:
    """What a record says of a measurement beside its times: spread, memory, file, products and repeats."""
    memory = row.memory
    return {
        "spread_percent": row.spread_percent,
        "peak_rss_bytes": None if memory is None else memory.peak_bytes,
        "imports_rss_bytes": None if memory is None else memory.imports_bytes,
        "file_bytes": row.file_bytes,
        "integer_products": row.products.on_integers,
        "products": row.products.total,
        "warmup": row.warmup,
        "iterations": row.iterations,
        "repeats": len(row.medians_ms),
    }


def csv_text(document: Mapping[str, Any]) -> str:
    """A benchmark's rows as CSV."""
    return files.csv_text(document["rows"][0], (row.values() for row in document["rows"]))


def title(document: Mapping[str, Any]) -> str:
    """What was measured and on what."""
    packages = ", ".join(f"{name} {version}" for name, version in document["packages"].items())
    return f"{document['model']} on {document['machine']}, 1 thread ({packages})"


def by_batch(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Document]]]:
    """Rows of each batch, the quickest first, with a heading that says how often they ran."""
    for batch in dict.fromkeys(row["batch"] for row in document["rows"]):
        rows = [row for row in document["rows"] if row["batch"] == batch]
        runs = "{warmup} warm-up and {repeats} times {iterations} timed iterations".format(**rows[0])
        yield f"batch {batch}: {runs}", rows


def _rss(row: Mapping[str, Any]) -> str:
    memory = row["peak_rss_bytes"]
    return MISSING if memory is None else f"{memory / 1e6:.0f} ({row['imports_rss_bytes'] / 1e6:.0f})"


def _right(row: Mapping[str, Any]) -> str:
    if row[TESTED] is None:
        return MISSING
    change, error = row[f"{TESTED}_change"], row[f"{TESTED}_change_standard_error"]
    return f"{row[TESTED]:.2f}" + (f" ({change:+.2f} \N{PLUS-MINUS SIGN} {error:.2f})" if error else "")


# What a table shows of a row, by heading; the first two are texts.
_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "contestant": lambda row: row["contestant"],
    "runtime": lambda row: row["runtime"],
    "p50 ms": lambda row: f"{row['p50_ms']:.4g}",
    "p90 ms": lambda row: f"{row['p90_ms']:.4g}",
    "images/s": lambda row: f"{row['images_per_second']:.1f}",
    "x eager f32": lambda row: f"{row['times_eager_float32']:.2f}",
    "spread": lambda row: f"{row['spread_percent']:.1f} %",
    "RSS MB": _rss,
    "file MB": lambda row: f"{row['file_bytes'] / 1e6:.2f}",
    "integer products": lambda row: f"{row['integer_products']}/{row['products']}",
}


# In addition where the processor counts energy.
_ENERGY_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "J/image": lambda row: MISSING if row[JOULES] is None else f"{row[JOULES]:.3g}"
}
# In addition where test images were classified.
_TESTED_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {"right, %": _right}


def _columns(row: Mapping[str, Any]) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    energy = _ENERGY_COLUMNS if JOULES in row else {}
    return {**_COLUMNS, **energy, **(_TESTED_COLUMNS if TESTED in row else {})}


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What the columns mean."""
    lines = [
        f"x eager f32: how many times as quick as {EAGER} in the same run; spread: how far the medians of "
        "repeats lie apart",
        "RSS: peak memory of a fresh process that loads the file and runs 5 batches, in brackets with its "
        "libraries imported alone; torch's bfloat16 and dynamic INT8 are made from the float file there",
        "file: the saved model; OpenVINO makes its bfloat16 from the float32 file",
        "integer products: linear layers, convolutions and two products of each attention that run on "
        "integers, by the runtime's own account of what it executes",
    ]
    if any(row["baseline"] for row in document["rows"]):
        lines.append(
            "the baselines' weights are random and their ranges come from noise, which changes no time"
        )
    if JOULES in document["rows"][0]:
        lines.append(
            "J/image: joules that the processor's packages and memory count (RAPL) while a candidate alone "
            "runs, with what the machine takes anyway"
        )
    if TESTED in document["rows"][0]:
        lines.append(
            "right: test images decided right, in brackets the paired difference to float32 in points; of "
            "configurations by the evaluator, whatever the runtime"
        )
    lines += document.get("published", [])
    if document["interrupted"]:
        lines.append("stopped before everything was measured")
    return lines + [f"note: {note}" for note in document["notes"]]


def print_bench(document: Mapping[str, Any], folder: Path) -> None:
    """Prints a benchmark, and where it was written."""
    console = stdout_console()
    console.print(title(document), soft_wrap=True)
    for heading, rows in by_batch(document):
        console.print(f"\n{heading}\n", soft_wrap=True)
        console.print(_table(rows))
    console.print()
    print_lines(console, [*document["findings"], "", *remarks(document), str(folder)])


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = _columns(rows[0])
    table = Table(list(columns), texts=(0, 1))
    for row in rows:
        eager = row["runtime"] == "torch" and row["kind"] == "float32" and not row["baseline"]
        style = "bold" if eager else "dim" if row["baseline"] else ""
        table.add(*(cell(row) for cell in columns.values()), style=style)
    return table


def markdown(document: Mapping[str, Any]) -> str:
    """A table for each batch, what it says, and what its columns mean."""
    sections = ((heading, _table(rows)) for heading, rows in by_batch(document))
    return markdown_page(title(document), sections, document["findings"], remarks(document))
