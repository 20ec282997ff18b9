"""``bitfront plot``: the pictures of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from bitfront.search.cli.options.common import add_run_argument, open_chosen_run, option
from bitfront.search.reports.console import hint, print_json, stdout_console
from bitfront.search.runs.names import run_command

SUMMARY = "draw the pictures of a run"
DETAIL = """\
Draws the pictures of a run as PNG: the front against size and latency, the bit map (which encoder keeps how
many bits along the front) and the hypervolume history. Points of the front that really differ are named.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_run_argument(parser)
    option(parser, "--all", "list every point of the front")
    option(parser, "--output DIR", "folder for the pictures (default: plots in the run folder)", Path)


def run(args: argparse.Namespace) -> int:
    """Draws the pictures and prints their paths."""
    from bitfront.search.reports.plots.run_plots import write_plots
    from bitfront.spaces.errors import UserError

    chosen = open_chosen_run(args)
    paths = write_plots(chosen, args.output, everything=args.all)
    if not paths:
        raise UserError(f"run {chosen.name} has no evaluated trials to draw yet: wait for the first")
    if args.json:
        print_json({"run": chosen.name, "plots": paths})
        return 0
    for path in paths:
        stdout_console().print(str(path), soft_wrap=True)
    hint(run_command(chosen.path, "export", chosen.name, "--pick", "knee"))
    return 0
