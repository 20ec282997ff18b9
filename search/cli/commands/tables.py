"""``bitfront tables``: the tables of a run over formats of a pipeline."""

from __future__ import annotations

import argparse

from bitfront.search.cli.options.common import add_run_argument
from bitfront.search.cli.options.generation import required_generation_run
from bitfront.search.reports.console import hint, print_json, print_lines, stdout_console
from bitfront.search.runs.names import run_command

SUMMARY = "print the tables of a run of task generation"
DETAIL = """\
Prints what quantization costs in pictures: sizes by component in theory, as held and on the disk; times by
component, of whole pictures, and memory of a fresh process; PSNR, SSIM, FID and KID against the float
pictures at equal seeds, with 95 % intervals over pictures, also by prompt; each component alone; the front;
advice by scenario. The same tables are in tables.md of the run folder.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_run_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the tables of the chosen run."""
    from bitfront.search.reports.generation.tables import all_tables, notes, tables_document

    chosen = required_generation_run(args)
    if args.json:
        print_json(tables_document(chosen))
        return 0
    console = stdout_console()
    for heading, table in all_tables(chosen):
        console.print(f"\n{heading}", style="bold")
        console.print(table)
    console.print()
    print_lines(console, notes(chosen))
    hint(run_command(chosen.path, "recommend", chosen.name), run_command(chosen.path, "plot", chosen.name))
    return 0
