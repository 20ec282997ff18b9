"""Comparisons of models' assignments as CSV: a row for each configuration, and for what was published."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bitfront.evaluators import files
from bitfront.search.reports.model_findings import all_draws, data_name
from bitfront.search.reports.published import comparable, published
from bitfront.spaces import KINDS

Document = Mapping[str, Any]
Cells = dict[str, Any]
_COLUMNS = (
    "comparison",
    "model",
    "data",
    "test_images",
    "random_weights",
    "metric",
    "assignment",
    "seed",
    "generations",
    "test",
    "search",
    "latency_ms",
    "latency_source",
    "size_bytes",
    "evaluations",
    "hypervolume_share",
    "against_eight_bit",
    "against_eight_bit_standard_error",
    "against_stochastic",
    "against_stochastic_standard_error",
    *KINDS,
)


def csv_text(documents: Sequence[Document]) -> str:
    """Metrics in percent, on the test and on the search images; differences in points, paired by image.

    ``assignment`` is ``float``, ``W8A8T8``, ``stochastic`` (one draw), ``search`` (one seed, in the end, or
    after some generations) or the mean of either over draws and seeds; widths are those of every encoder.
    """
    rows = [row for document in documents for row in (*_rows(document), *_published(document))]
    return files.csv_text(_COLUMNS, ([row.get(name) for name in _COLUMNS] for row in rows))


def _rows(document: Document) -> Iterator[Cells]:
    common = {
        "comparison": document["comparison"],
        "model": document["model"],
        "data": data_name(document),
        "test_images": document["images"]["test"],
        "random_weights": str(document["random_weights"]).lower(),
        "metric": document["metric"]["name"],
    }
    for row in (*_references(document), *_searches(document), *_means(document)):
        costs = {"latency_source": document["latency_source"]} if row.get("latency_ms") is not None else {}
        yield {**common, **costs, **row}


def _references(document: Document) -> Iterator[Cells]:
    yield {"assignment": "float", **_figures(document["float"])}
    yield {"assignment": "W8A8T8", **_figures(document["eight_bit"])}


def _searches(document: Document) -> Iterator[Cells]:
    for search in document["searches"]:
        seed = {"seed": search["seed"]}
        for draw in search["draws"]:
            yield {"assignment": "stochastic", **seed, **_figures(draw)}
        for mark in search["generations"]:
            spent = {name: mark[name] for name in ("generations", "evaluations", "hypervolume_share")}
            yield {"assignment": "search", **seed, **_figures(mark["best"] or {}), **spent}
        yield {"assignment": "search", **seed, **_figures(search), "evaluations": search["evaluations"]}


def _means(document: Document) -> Iterator[Cells]:
    found = document["differences"]
    for name, entries, others in (
        ("stochastic", all_draws(document), ("eight_bit",)),
        ("search", document["searches"], ("eight_bit", "stochastic")),
    ):
        tested = [entry["test"] for entry in entries if entry["test"] is not None]
        if not tested:
            continue
        row: Cells = {"assignment": f"{name}, mean", "test": statistics.fmean(tested)}
        for other in others:
            known = found.get(f"{name}_to_{other}", {})
            row[f"against_{other}"] = known.get("value")
            row[f"against_{other}_standard_error"] = known.get("error")
        yield row


def _published(document: Document) -> Iterator[Cells]:
    paper = comparable(document)
    if paper is None:
        return
    source = published()
    common = {
        "comparison": source.where,
        "model": document["model"],
        "data": source.data,
        "test_images": source.images,
        "metric": "top1",
    }
    yield {**common, "assignment": "W8A8T8", "test": paper.eight_bit}
    yield {**common, "assignment": "stochastic", "test": paper.stochastic}
    yield {**common, "assignment": "search", "test": paper.search}
    for count, value in paper.after.items():
        yield {**common, "assignment": "search", "generations": count, "test": value}


def _figures(entry: Document) -> Cells:
    """What is known of a configuration."""
    known = {name: entry.get(name) for name in ("test", "search", "latency_ms", "size_bytes")}
    bits = entry.get("bits") or []
    columns = zip(KINDS, zip(*bits, strict=True), strict=False)
    return {**known, **{kind: " ".join(map(str, column)) for kind, column in columns}}
