"""``bitfront watch``: a search as it goes, looked at from another terminal."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.search.cli.options.common import add_run_argument, option
from bitfront.search.runs.names import run_command

if TYPE_CHECKING:
    from rich.console import Console

    from bitfront.search.reports.watch import Sight

SUMMARY = "watch a search while it runs"
DETAIL = """\
Shows how far a search is while it runs in another terminal, or on another machine that shares the folder:
evaluations, time left, the growth of the hypervolume, what was rejected and why, and the front so far. It
reads the run folder alone; the search does not know of it. It ends when the search does; Ctrl-C ends the
watching, and the search goes on. Of a run that has ended, and where there is no terminal, everything is
printed once.
"""
INTERVAL_S = 2.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_run_argument(parser)
    option(parser, "--interval SECONDS", "how often it looks", _seconds, INTERVAL_S)


def _seconds(text: str) -> float:
    """A number of seconds from a tenth."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = math.nan
    if not 0.1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds of at least 0.1")
    return value


def run(args: argparse.Namespace) -> int:
    """Shows the chosen run until its search ends."""
    from bitfront.search.reports.console import hint, print_json, stdout_console
    from bitfront.search.reports.watch import Sight, watch_document, watch_view
    from bitfront.search.runs.listing import latest_run
    from bitfront.search.runs.names import checked_name

    name = checked_name(args.run) if args.run else latest_run(args.runs_dir)
    seen = Sight.of(args.runs_dir, name)
    if args.json:
        print_json(watch_document(seen))
        return 0
    console = stdout_console()
    if console.is_terminal and seen.running:
        try:
            seen = _follow(console, args.runs_dir, seen, args.interval)
        except KeyboardInterrupt:
            hint(f"{run_command(args.runs_dir / name, 'watch', name)}; the search goes on")
            return 0
    else:
        console.print(watch_view(seen, console.width, plain=not console.is_terminal), soft_wrap=True)
    if not seen.running and seen.run is not None:
        hint(run_command(args.runs_dir / name, "front", name))
    return 0


def _follow(console: Console, root: Path, seen: Sight, interval: float) -> Sight:
    """Looks again and again until no process writes to the run; what was seen last stays on the screen."""
    from rich.live import Live

    from bitfront.search.reports.watch import Sight, watch_view

    view = watch_view(seen, console.width)
    with Live(view, console=console, auto_refresh=False) as live:
        while seen.running:
            time.sleep(interval)
            seen = Sight.of(root, seen.name)
            live.update(watch_view(seen, console.width), refresh=True)
    return seen
