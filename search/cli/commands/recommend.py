"""``bitfront recommend``: which formats of a pipeline serve which purpose."""

from __future__ import annotations

import argparse
from pathlib import Path

from bitfront.search.cli.options.common import add_run_argument, option
from bitfront.search.cli.options.generation import required_generation_run
from bitfront.search.reports.console import print_json, stdout_console

SUMMARY = "advise on formats of a pipeline by scenario"
DETAIL = """\
Names for each scenario the evaluated point of a run of task generation that serves it, with its interval,
and why. Scenarios of your own are tables of a TOML file:

  [[scenario]]
  name = "phone"
  prefer = "psnr"        # or latency, size
  min_psnr = 30          # the lower end of the 95 % interval is held to it
  max_size = "0.3x"      # or such as 4MB; max_latency and max_memory are written so, too
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_run_argument(parser)
    option(parser, "--scenarios FILE", "a TOML file of scenarios (default: five that bitfront has)", Path)


def run(args: argparse.Namespace) -> int:
    """Prints the advice."""
    from bitfront.search.export.scenarios import read_scenarios, recommendations
    from bitfront.search.reports.generation.tables import advice_table

    chosen = required_generation_run(args)
    scenarios = None if args.scenarios is None else read_scenarios(args.scenarios)
    if args.json:
        advice = [entry.to_json() for entry in recommendations(chosen, scenarios)]
        print_json({"run": chosen.name, "advice": advice})
        return 0
    stdout_console().print(advice_table(chosen, scenarios))
    return 0
