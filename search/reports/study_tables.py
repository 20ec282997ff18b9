"""The tables of a study: metrics, ablation, sizes, and times for each batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.problem.wording import MISSING
from bitfront.search.reports.published_study import published_study, quality_comparable, times_comparable
from bitfront.search.reports.tables import Table
from bitfront.spaces.quantities import count_of

Document = Mapping[str, Any]
# Mean, error of the images, error of the seeds.
Figure = Sequence[float | None]
_PLUS_MINUS, _TIMES = "\N{PLUS-MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
_SPLITS = {"test": "test", "search": "validation"}
_ARITHMETICS = {"float32": "float32", "INT8": "INT8", "dynamic": "dynamic INT8", "refined": "INT8"}
PUBLISHED = "published"


class Section(NamedTuple):
    """A table below its heading."""

    heading: str
    table: Table


def sections(figures: Document) -> Iterator[Section]:
    """All tables of a study."""
    for split, called in _SPLITS.items():
        seeds = "" if figures["seeds"] == 1 else f", mean of {count_of(figures['seeds'], 'seed')}"
        yield Section(f"{figures['images'][split]:,} {called} images{seeds}", _metrics(figures, split))
    yield Section("ablation: each step beside the one before it, on the same images", _ablation(figures))
    if figures["times"]:
        yield Section("files", _sizes(figures))
    for timed in figures["times"]:
        first = timed["rows"][0]
        runs = (
            f"{first['warmup']} warm-up and {first['repeats']} times {first['iterations']} timed iterations"
        )
        yield Section(f"batch {timed['batch']}: {runs}, one thread", _times(figures, timed))


def error_of(figure: Figure) -> float | None:
    """Standard error over images and seeds together; None where neither is known."""
    known = [part for part in figure[1:] if part is not None]
    return math.hypot(*known) if known else None


def _cell(figure: Figure, sign: str = "") -> str:
    value, error = figure[0], error_of(figure)
    if value is None:
        return MISSING
    return f"{value:{sign}.2f}" + ("" if error is None else f" {_PLUS_MINUS} {error:.2f}")


def _metrics(figures: Document, split: str) -> Table:
    task, beside = task_named("classification"), quality_comparable(figures)
    titles = [task.metric(name).heading for name in figures["metrics"]]
    table = Table(["model", "arithmetic", *titles, "MB", f"{_TIMES} smaller"], texts=(0, 1))
    whole = next(v["file_bytes"] for v in figures["variants"] if v["arithmetic"] == "float32")
    for variant in figures["variants"]:
        if variant["arithmetic"] == "refined":
            _before_refining(table, figures, split, beside)
        own = _float_bytes(figures, variant) if variant.get("baseline") else whole
        cells = [_cell(variant[split][name]) for name in figures["metrics"]]
        table.add(
            variant["name"],
            _ARITHMETICS[variant["arithmetic"]],
            *cells,
            _megabytes(variant["file_bytes"]),
            _ratio(own, variant["file_bytes"]),
        )
        name, kind = variant["name"], variant["arithmetic"]
        name, kind = ("QAT-lite", "dynamic") if kind == "refined" else (name, kind)
        if beside:
            _add_published(table, split, name, kind)
    return table


def _before_refining(table: Table, figures: Document, split: str, beside: bool) -> None:
    """The row before INT8 of what is learned on integers: there is no such model."""
    dashes = [MISSING] * (len(figures["metrics"]) + 2)
    name = next(v["name"] for v in figures["variants"] if v["arithmetic"] == "refined")
    table.add(name, "before INT8", *dashes)
    if beside:
        _add_published(table, split, "QAT-lite", "float32")


def _add_published(table: Table, split: str, name: str, kind: str) -> None:
    known, paper = published_study().variant(name, kind), published_study()
    if known is None:
        return
    whole = paper.variant("distilled", "float32")
    assert whole is not None, "it is shipped"
    cells = [f"{value:.2f}" for value in known[split]]
    ratio = whole["file"] / known["file"]
    called = f"{PUBLISHED}: {name}" if name == "QAT-lite" else PUBLISHED
    kinds = {"float32": "float32", "dynamic": "dynamic INT8"}
    table.add(called, kinds[kind], *cells, f"{known['file']:.2f}", f"{ratio:.2f}", style="dim")


def _float_bytes(figures: Document, network: Document) -> float | None:
    """Bytes of a network in float32."""
    for other in figures["variants"]:
        if other.get("baseline") and (other["model"], other["arithmetic"]) == (network["model"], "float32"):
            return other["file_bytes"]  # type: ignore[no-any-return]
    return None


def _ablation(figures: Document) -> Table:
    task = task_named("classification")
    primary = figures["metrics"][0]
    titles = [f"{task.metric(name).title}, points" for name in figures["metrics"]]
    heading = task.metric(primary).heading
    table = Table(["", f"test {heading}", *titles, f"validation {heading}", "points"])
    for step in figures["ablation"]:
        found = step.get("difference")
        differences = [_cell(found["test"][name], "+") if found else "" for name in figures["metrics"]]
        steered = _cell(found["search"][primary], "+") if found else ""
        table.add(
            step["step"], _cell(step["test"][primary]), *differences, _cell(step["search"][primary]), steered
        )
    return table


def _sizes(figures: Document) -> Table:
    """Bytes of every file, and how many times smaller than float32's of the same kind."""
    beside = times_comparable(figures)
    headings = ["model", "parameters", "file", "float32 MB", "INT8 MB", f"{_TIMES} smaller"]
    table = Table([*headings, *([f"{PUBLISHED} {_TIMES}"] if beside else [])], texts=(0, 2))
    rows = figures["times"][0]["rows"]
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        first = True
        for row in own:
            if row["kind"] == "float32":
                continue
            whole = next((o for o in own if (o["kind"], o["runtime"]) == ("float32", row["runtime"])), own[0])
            parameters = f"{figures['parameters'][model] / 1e6:.2f} M" if first else ""
            cells = [_megabytes(whole["file_bytes"]), _megabytes(row["file_bytes"])]
            ratio = _ratio(whole["file_bytes"], row["file_bytes"])
            theirs = [_published_ratio(model, row["kind"])] if beside else []
            table.add(model if first else "", parameters, file_words(row), *cells, ratio, *theirs)
            first = False
    return table


def file_words(row: Document) -> str:
    """What a file holds, in words."""
    if row["kind"] == "dynamic":
        return "torch's dynamic INT8"
    return "packed by bitfront" if row["runtime"] == "torch" else f"graph for {row['runtime']}"


def _published_ratio(model: str, kind: str) -> str:
    whole, small = (published_study().timed(model, name) for name in ("float32", kind))
    return MISSING if whole is None or small is None else f"{whole['file'] / small['file']:.2f}"


def _times(figures: Document, timed: Document) -> Table:
    beside = times_comparable(figures)
    headings = [
        "model",
        "arithmetic",
        "runtime",
        "p50 ms",
        "p90 ms",
        "images/s",
        f"{_TIMES} float32 in torch",
    ]
    headings += ["peak MB", "file MB"]
    theirs = [f"{PUBLISHED} p50 ms", "images/s", "MB"] if beside else []
    table = Table([*headings, *theirs], texts=(0, 1, 2))
    rows = timed["rows"]
    for row in rows:
        same = (o for o in rows if o["model"] == row["model"])
        eager = next((o for o in same if (o["kind"], o["runtime"]) == ("float32", "torch")), None)
        memory = row["peak_rss_bytes"]
        table.add(
            row["model"],
            row["variant"],
            row["runtime"],
            f"{row['p50_ms']:.4g}",
            f"{row['p90_ms']:.4g}",
            f"{row['images_per_second']:.1f}",
            MISSING if eager is None else f"{eager['p50_ms'] / row['p50_ms']:.2f}",
            MISSING if memory is None else f"{memory / 1e6:.0f}",
            _megabytes(row["file_bytes"]),
            *(_published_times(row, timed["batch"]) if beside else ()),
        )
    return table


def published_times(row: Document, batch: int) -> list[float | None] | None:
    """p50, p90, images/s and MB that were published of the same model in torch; None where nothing was."""
    known = published_study().timed(row["model"], row["kind"]) if row["runtime"] == "torch" else None
    if known is None or str(batch) not in known:
        return None
    return [value or None for value in known[str(batch)]]


def _published_times(row: Document, batch: int) -> list[str]:
    found = published_times(row, batch)
    if found is None:
        return [MISSING] * 3
    p50, _, rate, memory = found
    return [MISSING if value is None else f"{value:g}" for value in (p50, rate, memory)]


def _megabytes(size: float | None) -> str:
    return MISSING if size is None else f"{size / 1e6:.2f}"


def _ratio(whole: float | None, size: float | None) -> str:
    return MISSING if not whole or not size else f"{whole / size:.2f}"
