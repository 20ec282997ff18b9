"""``bitfront runs``: the runs there are."""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from typing import TYPE_CHECKING

from bitfront.search.cli.options.common import add_runs_dir
from bitfront.search.reports.console import hint, print_json, stdout_console
from bitfront.search.runs.names import command_line, run_command, runs_dir_options

if TYPE_CHECKING:
    from bitfront.search.runs.listing import RunSummary

SUMMARY = "list the runs"
DETAIL = "Lists the runs, the one changed last first."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_runs_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a line for each run."""
    from bitfront.search.runs.listing import list_runs

    found = list_runs(args.runs_dir)
    if args.json:
        print_json({"runs_dir": str(args.runs_dir), "runs": [_document(run) for run in found]})
        return 0
    if not found:
        stdout_console().print(f"there are no runs in {args.runs_dir}")
        hint(command_line("search", *runs_dir_options(args.runs_dir)))
        return 0

    from bitfront.search.reports.front_table import runs_table

    console = stdout_console()
    console.print(runs_table(found, plain=not console.is_terminal))
    for damaged in (run for run in found if run.status == "damaged"):
        console.print(f"{damaged.name}: {damaged.state}", soft_wrap=True)
    hint(run_command(args.runs_dir / found[0].name, "front", found[0].name))
    return 0


def _document(summary: RunSummary) -> dict[str, object]:
    fields = dataclasses.asdict(summary)
    changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(fields["changed"]))
    smallest = fields["smallest_bytes"]
    size = None if math.isnan(smallest) else int(smallest)
    best = {f"best_{summary.metric}": summary.best_quality} if summary.metric else {}
    return {**fields, **best, "changed": changed, "status": summary.status, "smallest_bytes": size}
