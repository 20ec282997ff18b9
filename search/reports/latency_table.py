"""A measured latency table as JSON and as a person reads it, with how well its sums predict whole models."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.latency.table import sums_miss
from bitfront.search.reports.bench_findings import NOISY_PERCENT
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.tables import Table
from bitfront.spaces import FORMATS, BitConfig, Triple
from bitfront.spaces.formats import in_order, label

if TYPE_CHECKING:
    from bitfront.evaluators.context.spec import EvaluationSpec
    from bitfront.evaluators.latency.table import Latency, LatencyTable
    from bitfront.evaluators.models.blueprint import Blueprint


@dataclass(frozen=True)
class CheckedModel:
    """A whole model beside the sum of its table entries.

    Attributes:
        name: What the configuration is called.
        digest: The configuration's digest.
        sum_ms: Sum of the table's entries, in milliseconds.
        measured_ms: Time of the whole model, in milliseconds.
        spread_percent: Range of its repeats.
        error_percent: Of the sum; negative where it is too small.
    """

    name: str
    digest: str
    sum_ms: float
    measured_ms: float
    spread_percent: float
    error_percent: float

    @classmethod
    def of(
        cls, name: str, config: BitConfig, entry: Latency, table: LatencyTable, blueprint: Blueprint
    ) -> CheckedModel:
        """Compares a measurement with the table's sum."""
        from bitfront.evaluators.latency.table import TableLatency, timed_encoders

        needed = {bits for _, bits in table.encoders}
        total = TableLatency(table, timed_encoders(blueprint), needed).latency_ms(config)
        error = 100.0 * (total / entry.milliseconds - 1.0)
        return cls(name, config.digest, total, entry.milliseconds, entry.spread_percent, error)


def table_document(
    spec: EvaluationSpec, blueprint: Blueprint, table: LatencyTable, checks: Sequence[CheckedModel]
) -> dict[str, Any]:
    """A table with its checks, as JSON has it; one entry of ``encoders`` for each shape and precision.

    The first check is the configuration at which the table was filled up.
    """
    from bitfront.evaluators.latency.table import encoder_shape

    counts = Counter(map(encoder_shape, blueprint.encoders))
    # The table was made to fit the first one.
    errors = [abs(check.error_percent) for check in checks[1:] or checks]
    return {
        "model": spec.model,
        "scheme": spec.scheme,
        "recipe": spec.recipe,
        "without": list(spec.without),
        "latency_source": table.source,
        "machine": table.machine,
        "batch": table.batch,
        "threads": table.threads,
        "encoders": [
            {
                "shape": shape,
                "count": counts[shape],
                **dict(zip(("weights", "activations", "attention"), bits, strict=True)),
                **asdict(entry),
            }
            for (shape, bits), entry in table.encoders.items()
        ],
        "rest": asdict(table.rest),
        "float_model": asdict(table.float_model),
        "checks": [asdict(check) for check in checks],
        "largest_error_percent": max(errors),
        "mean_error_percent": sum(errors) / len(errors),
    }


def print_table(document: Mapping[str, Any], path: Path) -> None:
    """Prints a table, as :func:`table_document` gives it, and where it was written."""
    console = stdout_console()
    batch = "one image" if document["batch"] == 1 else f"a batch of {document['batch']}"
    batch += f" on {document['threads']} threads" if document["threads"] != 1 else ""
    console.print(
        f"{document['model']} ({document['scheme']}), {document['latency_source']} on {document['machine']}, "
        f"milliseconds for {batch}\n",
        soft_wrap=True,
    )
    console.print(_parts(document))
    console.print()
    console.print(_checks(document))
    console.print()
    print_lines(console, [*_remarks(document), str(path)])


def print_probed(tables: Sequence[Mapping[str, Any]]) -> None:
    """Prints tables that were made of timings, a line each, as ``TableFromProbe.to_json`` gives them."""
    console = stdout_console()
    columns = ("latency", "batch", "threads", "rounds", "float ms", "error of sums", "at most", "file")
    table = Table(columns, texts=(0, 7))
    for found in tables:
        errors = [abs(check["error_percent"]) for check in found["checks"]]
        shown = [f"{found['sum_error_percent']:.1f} %", f"{max(errors):.1f} %"] if errors else ["", ""]
        numbers = [str(found[name]) for name in ("batch", "threads", "rounds")]
        table.add(found["latency_source"], *numbers, f"{found['float_ms']:.4g}", *shown, str(found["path"]))
    console.print(table)


def _parts(document: Mapping[str, Any]) -> Table:
    table = Table(("part", "shape", "bits", "encoders", "ms", "spread"), texts=range(3))
    keys = ("shape", "milliseconds", "spread_percent", "count")
    shapes = [entry["shape"] for entry in document["encoders"]]
    entries = sorted(
        document["encoders"], key=lambda entry: (shapes.index(entry["shape"]), entry["milliseconds"])
    )
    groups = itertools.groupby(entries, key=lambda entry: tuple(entry[key] for key in keys))
    for (shape, milliseconds, spread, count), group in groups:
        cells = [f"{milliseconds:.4g}", f"{spread:.1f} %"]
        table.add("encoder", shape, _bits(group), str(count), *cells)
    for part, entry in (("rest", document["rest"]), ("float model", document["float_model"])):
        table.add(part, "", "", "", f"{entry['milliseconds']:.4g}", f"{entry['spread_percent']:.1f} %")
    return table


def _bits(entries: Iterable[Mapping[str, Any]]) -> str:
    """Precisions that share a time, such as ``W4,8 A8 T8`` where only that of weights makes no difference."""
    found: list[Triple] = [(e["weights"], e["activations"], e["attention"]) for e in entries]
    kinds = [in_order(triple[place] for triple in found) for place in range(3)]
    if len(kinds[0]) * len(kinds[1]) * len(kinds[2]) == len(found):
        listed = (",".join(FORMATS[value].label for value in kind) for kind in kinds)
        return " ".join(f"{letter}{values}" for letter, values in zip("WAT", listed, strict=True))

    def place(triple: Triple) -> list[int]:
        return [kind.index(value) for kind, value in zip(kinds, triple, strict=True)]

    return " ".join(map(label, sorted(found, key=place)))


def _checks(document: Mapping[str, Any]) -> Table:
    table = Table(("whole model", "sum of parts", "measured", "error of sum", "spread"))
    for check in document["checks"]:
        times = [f"{check[name]:.4g}" for name in ("sum_ms", "measured_ms")]
        shares = [f"{check['error_percent']:+.1f} %", f"{check['spread_percent']:.1f} %"]
        table.add(check["name"], *times, *shares)
    return table


def _remarks(document: Mapping[str, Any]) -> Iterable[str]:
    first, *others = document["checks"]
    if others:
        yield (
            f"sums of parts differ from whole models by {document['mean_error_percent']:.1f} % on average, "
            f"{document['largest_error_percent']:.1f} % at most, {first['name']} apart"
        )
    yield f"rest: with what {first['name']} takes longer than its parts, each timed by itself"
    timed = [*document["encoders"], document["rest"], document["float_model"], *document["checks"]]
    spread = max(entry["spread_percent"] for entry in timed)
    yield "spread: how far the medians of repeats lie apart"
    if spread > NOISY_PERCENT:
        yield (
            f"note: repeats differ by up to {spread:.0f} %: the machine was busy; measure again with nothing "
            "else running"
        )
    if sums_miss([check["error_percent"] / 100.0 for check in others]):
        yield (
            f"WARNING: sums of this table miss whole models by up to "
            f"{document['largest_error_percent']:.0f} %; searches will take smaller differences for none. "
            "Measure again with nothing else running, or give more --seconds"
        )
