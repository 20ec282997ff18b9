"""``bitfront report``: one interactive HTML file of a run, or of several."""

from __future__ import annotations

import argparse
from pathlib import Path

from bitfront.search.cli.options.common import add_runs_dir, natural, option, priced_runs
from bitfront.search.cli.options.groups import add_price_options
from bitfront.search.reports.console import hint, print_json, stdout_console
from bitfront.search.runs.names import run_command

SUMMARY = "write an interactive report of a run as one HTML file"
DETAIL = """\
Writes one HTML file that any browser shows without a network: the front with errors, which encoder keeps how
many bits along it, all figures at once, the search as it went. Limits can be moved, points selected and
compared, and the address of the page holds what was chosen. Several runs stand in one file.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    several = "names of runs, which stand in one file (default: the latest run alone)"
    parser.add_argument("runs", nargs="*", metavar="RUN", help=several)
    add_runs_dir(parser)
    place = (
        "the file (default: report.html in the run folder; for several runs in RUN+RUN in the folder of runs)"
    )
    option(parser, "--output FILE", place, Path)
    images = (
        "show up to N images of the data small where pinned points disagree on them (default: none, and the "
        "file holds no image)"
    )
    option(parser, "--images N", images, natural, 0)
    add_price_options(parser, "; may be given again, and the page has the run by each")


def run(args: argparse.Namespace) -> int:
    """Writes the report and prints its path."""
    from bitfront.search.session.run import open_run, report

    opened = [open_run(name, runs_dir=args.runs_dir) for name in args.runs or [None]]
    runs = [run for one in opened for run in priced_runs(args, one)]
    path = report(runs, args.output, images=args.images)
    if args.json:
        named = {"run": opened[0].name} if len(opened) == 1 else {"runs": [each.name for each in opened]}
        print_json({**named, "report": path, "bytes": path.stat().st_size})
        return 0
    stdout_console().print(str(path), soft_wrap=True)
    hint("open it in a browser", run_command(runs[0].path, "export", runs[0].name, "--pick", "knee"))
    return 0
