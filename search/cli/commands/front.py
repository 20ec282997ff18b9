"""``bitfront front``: the front of a run as a table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitfront.search.cli.options.common import add_run_argument, open_chosen_run, option, priced_runs
from bitfront.search.cli.options.generation import generation_run
from bitfront.search.cli.options.groups import (
    add_choice_limits,
    add_price_options,
    choice_limits,
    choice_words,
    price_words,
)
from bitfront.search.reports.console import hint, print_json
from bitfront.search.runs.names import run_command
from bitfront.search.samplers.registry import DEFAULT_EVALUATIONS

if TYPE_CHECKING:
    from bitfront.search.runs.generation import GenerationRun
    from bitfront.search.session.run import Run

SUMMARY = "print the front of a run"
DETAIL = """\
Prints the front of a run: assignments of bits that no other found one beats in all objectives. At most 8 of
them are listed, which really differ; each says how many others it stands for. Limits leave the points within
them: the list and the starred point are what they would be of these alone.

  bitfront front NAME --latency table:phone.csv
  bitfront front NAME --latency run --latency table:phone.csv

prices a finished run for another machine: nothing is evaluated. Several sources stand side by side.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_run_argument(parser)
    option(parser, "--all", "list every point of the front")
    columns = (
        "what comes first: the best in an objective or another metric of the front, in test (the same on the "
        "test split) or measured (whole-model latency), or the first trial (default: the smallest)"
    )
    option(parser, "--sort COLUMN", columns)
    add_price_options(parser, "; may be given again, and the fronts stand side by side")
    add_choice_limits(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the front of the chosen run."""
    from bitfront.search.reports.front_table import front_document, print_front

    pictures = generation_run(args, args.run)
    if pictures is not None:
        return _formats(args, pictures)
    runs = [run.within(**choice_limits(args)) for run in priced_runs(args, open_chosen_run(args))]
    if len(runs) > 1:
        return _several(args, runs)
    chosen = runs[0]
    if args.json:
        print_json(front_document(chosen, args.sort))
        return 0
    prices, limits = price_words(args), choice_words(args)
    print_front(chosen, args.all, args.sort, [*prices, *limits, *args.words.get("sort", ())])
    if len(chosen.front):
        export = run_command(chosen.path, "export", chosen.name, *prices, "--pick", "knee", *limits)
        hint(run_command(chosen.path, "plot", chosen.name, *prices), export)
    elif chosen.prices:
        words = ("search", "--from", chosen.name, *prices)
        hint(run_command(chosen.path, *words), "or one with other limits")
    else:
        twice = 2 * int(chosen.spec.get("evaluations") or DEFAULT_EVALUATIONS)
        resume = run_command(chosen.path, "search", "--resume", chosen.name, "--evaluations", twice)
        hint(resume, "or a search with looser limits")
    return 0


def _formats(args: argparse.Namespace, run: GenerationRun) -> int:
    """Prints the front of a run over formats."""
    from bitfront.search.reports.console import stdout_console
    from bitfront.search.reports.generation.tables import front_document, front_table
    from bitfront.spaces.errors import UserError

    foreign = sorted(args.given - {"run", "runs_dir", "all"})
    if foreign:
        raise UserError(f"--{foreign[0].replace('_', '-')} is not for runs of task generation: leave it out")
    if args.json:
        print_json(front_document(run))
        return 0
    stdout_console().print(front_table(run))
    hint(run_command(run.path, "tables", run.name), run_command(run.path, "recommend", run.name))
    return 0


def _several(args: argparse.Namespace, runs: Sequence[Run]) -> int:
    """Prints one run by several sources."""
    from bitfront.search.reports.price_table import prices_document, print_prices
    from bitfront.spaces.errors import UserError

    if args.sort:
        raise UserError("--sort orders one front, and several sources have one each: leave it out")
    if args.json:
        print_json(prices_document(runs))
        return 0
    limits = choice_words(args)
    print_prices(runs, args.all, [*price_words(args), *limits])
    run = runs[0]
    hint(
        *(
            run_command(run.path, "export", run.name, *_words(each), "--pick", "knee", *limits)
            for each in runs
        )
    )
    return 0


def _words(run: Run) -> Sequence[str]:
    return run.prices.words if run.prices else ()
