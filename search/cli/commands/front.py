"""``bitfront front``: the front of a run as a table."""

from __future__ import annotations

import argparse

from bitfront.search.cli.options.common import add_run_argument, open_chosen_run, option
from bitfront.search.cli.options.groups import add_choice_limits, choice_limits, choice_words
from bitfront.search.reports.console import hint, print_json
from bitfront.search.runs.names import run_command
from bitfront.search.samplers.registry import DEFAULT_EVALUATIONS

SUMMARY = "print the front of a run"
DETAIL = """\
Prints the front of a run: assignments of bits that no other found one beats in all objectives. At most 8 of
them are listed, which really differ; each says how many others it stands for. Limits leave the points within
them: the list and the starred point are what they would be of these alone.
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
    add_choice_limits(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the front of the chosen run."""
    from bitfront.search.reports.front_table import front_document, print_front

    chosen = open_chosen_run(args).within(**choice_limits(args))
    if args.json:
        print_json(front_document(chosen, args.sort))
        return 0
    limits = choice_words(args)
    print_front(chosen, args.all, args.sort, [*limits, *args.words.get("sort", ())])
    if len(chosen.front):
        export = run_command(chosen.path, "export", chosen.name, "--pick", "knee", *limits)
        hint(run_command(chosen.path, "plot", chosen.name), export)
    else:
        twice = 2 * int(chosen.spec.get("evaluations") or DEFAULT_EVALUATIONS)
        resume = run_command(chosen.path, "search", "--resume", chosen.name, "--evaluations", twice)
        hint(resume, "or a search with looser limits")
    return 0
