"""``bitfront front``: the front of a run as a table."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from bitfront.search.cli.options import add_run_argument, command_parser, open_chosen_run
from bitfront.search.reports.console import hint, print_json, stdout_console

if TYPE_CHECKING:
    from bitfront.search.cli.options import Subparsers
    from bitfront.search.runs.reader import Run


_DETAIL = """\
Prints the front of a run: every assignment of bits that no other found one beats in all objectives.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Adds the command."""
    parser = command_parser(subparsers, "front", "print the front of a run", _DETAIL)
    add_run_argument(parser)
    parser.set_defaults(handler=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Prints the front of the chosen run."""
    chosen = open_chosen_run(args)
    if args.json:
        print_json(front_document(chosen))
        return 0
    print_front(chosen)
    if len(chosen.front):
        hint(f"bitfront plot {chosen.name}", f"bitfront export {chosen.name} --pick knee")
    else:
        hint("bitfront search with looser limits or more --evaluations")
    return 0


def front_document(run: Run) -> dict[str, Any]:
    """The front as JSON: what was searched, reference models, points smallest first, the knee's trial."""
    from bitfront.search.reports.front_rows import front_rows

    rows = front_rows(run)
    knee = next((int(row.name) for row in rows if row.knee), None)
    bits = {str(point["trial"]): point for point in run.front.to_dict("records")}
    points = [
        {
            "trial": int(row.name),
            **_values(row._asdict()),
            "bits": {gene.name: int(bits[row.name][gene.name]) for gene in run.genes},
        }
        for row in rows
        if not row.reference
    ]
    return {
        "run": run.name,
        "model": run.evaluation.get("model"),
        "data": run.evaluation.get("data"),
        "scheme": run.evaluation.get("scheme"),
        "recipe": run.evaluation.get("recipe"),
        "without": run.evaluation.get("without"),
        "objectives": run.objectives,
        "latency_source": run.latency_source,
        "latency_measured_source": run.latency_measured_source,
        "stopped_because": run.summary.get("stopped_because"),
        "message": run.summary.get("message") or None,
        "hypervolume": run.summary.get("hypervolume"),
        "failures": run.failures,
        "test_failures": run.summary.get("test_failures") or {},
        "knee": knee,
        "references": [{"name": row.name, **_values(row._asdict())} for row in rows if row.reference],
        "front": points,
    }


def _values(row: dict[str, Any]) -> dict[str, Any]:
    hidden = ("name", "reference", "knee", "bits", *(() if row["digest"] else ("digest",)))
    values = {key: value for key, value in row.items() if key not in hidden}
    size = row["size_bytes"]
    for name in ("against_float", "test_against_float"):
        values[name] = values[name] and values[name].to_json()
    return {**values, "size_bytes": size if math.isnan(size) else int(size), "mean_bits": row["bits"]}


def print_front(run: Run) -> None:
    """Prints a heading, the table and what its columns mean."""
    from bitfront.search.reports.front_rows import accuracy_notes, failure_notes, front_rows, latency_notes
    from bitfront.search.reports.front_table import STAR, front_table

    console = stdout_console()
    console.print(_heading(run), soft_wrap=True)
    if run.front.empty:
        message = run.summary.get("message") or "no trial has met the limits so far"
        for line in (f"the front is empty: {message}", *failure_notes(run)):
            console.print(line, soft_wrap=True)
        return
    rows = front_rows(run)
    plain = not console.is_terminal
    console.print()
    console.print(front_table(run, rows, plain, console.width))
    batch = f" for a batch of {run.latency_batch}" if run.latency_batch else ""
    source = f"ms: {run.latency_source}{batch}; " if run.latency_source else ""
    legend = f"{STAR} knee; top-1 on the search split, test on the test split; {source}MB = 10^6 bytes"
    console.print()
    for line in (legend, *latency_notes(run, rows), *accuracy_notes(run, rows), *failure_notes(run)):
        console.print(line, style="dim", soft_wrap=True)


def _heading(run: Run) -> str:
    from bitfront.search.wording import points, quantization

    model, data = run.evaluation.get("model", ""), run.evaluation.get("data", "")
    state = run.summary.get("stopped_because") or "unfinished"
    limits = "".join(f", {limit.label}" for limit in run.limits)
    counts = f"{points(len(run.front))} from {len(run.trials)} trials"
    return f"{run.name}: {model} ({quantization(run.evaluation)}) on {data}{limits}; {counts} ({state})"
