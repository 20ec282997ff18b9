"""``bitfront compare``: a searched assignment beside uniform 8 bit and stochastic ones, as papers' tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.search.cli.options.common import INTERRUPTED, add_runs_dir, natural, option, positive
from bitfront.search.cli.options.groups import (
    add_latency_option,
    add_limit_options,
    add_machine_options,
    add_model_options,
    add_quantization_options,
    add_seed_option,
    add_worker_options,
)
from bitfront.search.reports.model_tables import CSV, FORMATS, LATEX, MARKDOWN, TERMINAL
from bitfront.search.runs.names import run_command
from bitfront.search.samplers.registry import (
    ABLATED_SAMPLER,
    DRAWS,
    GENERATIONS,
    SEARCHES,
    default_population,
)
from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.search.session.compare import ModelComparison

_BY_ENDING = {".csv": CSV, ".md": MARKDOWN, ".tex": LATEX}
# Settings that a resumed comparison may change, and how tables are shown.
_CHANGEABLE, _SHOWN = ("generations", "draws", "seeds", "pick"), ("format", "output")
SUMMARY = "compare a searched assignment with uniform 8 bit and random ones"
DETAIL = """\
Answers what the tables of PoMQ-ViT (Appl. Sci. 2025, 15, 9856) answer, for one model or several: top-1, time
and size of the float model, of uniform 8 bit, of random (stochastic) assignments of equal size and of what a
search finds; top-1 after 2, 5, 10 and 20 generations of plain NSGA-II; the bits of every encoder. Genes are 4
or 8 bits for the weights, activations and attention of each encoder, mixed, faster than float and no larger
than at 8 bits. Top-1 is that on test images, which no search has used; differences have paired errors.

  bitfront compare --model digits_deit --latency model:bops
  bitfront compare compare-digits_deit-20260131-143012 OTHER --format latex --output tables.tex

With names of comparisons, finished or not, they are printed together. A comparison is a folder beside the
runs with its evaluations, comparison.json, tables.csv, tables.md, tables.tex, and the front of each search as
a run in fronts/. Ctrl-C, or a kill, loses no evaluation: --resume goes on, also with more --generations,
--draws or --seeds. `bitfront compare-samplers` compares samplers at equal evaluations.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    several = "names of comparisons to print together; needs no other option"
    parser.add_argument("comparisons", nargs="*", metavar="NAME", help=several)
    add_model_options(parser)
    add_quantization_options(parser)
    group = parser.add_argument_group("latency")
    add_latency_option(group)
    add_limit_options(parser)
    group = parser.add_argument_group("comparison")
    option(group, "--generations N", "generations of NSGA-II", positive, GENERATIONS)
    option(
        group, "--population N", "candidates of a generation", positive, default_population(ABLATED_SAMPLER)
    )
    option(group, "--draws N", "random assignments of equal size beside each search", natural, DRAWS)
    option(group, "--seeds N", "searches, each with a seed of its own", positive, SEARCHES)
    add_seed_option(group, "seed of the splits and of the first search")
    points = "the point of the front, as `bitfront export` takes it: knee (or star), an objective, weights"
    option(group, "--pick POINT", points, default="knee")
    option(group, "--all-genes", "also search genes of which no narrower width saves time or bytes")
    option(group, "--random-weights", "random weights, for a dry run whose accuracies mean nothing")
    group = parser.add_argument_group("tables")
    shown = "form of the tables (default: that of the ending of --output, or terminal)"
    option(group, "--format FORMAT", f"{', '.join(FORMATS)}: {shown}", choices=FORMATS)
    option(group, "--output FILE", "write the tables to a file as well", Path)
    group = parser.add_argument_group("folder and machine")
    add_worker_options(group)
    add_machine_options(group)
    name = group.add_mutually_exclusive_group()
    option(name, "--run NAME", "name of the comparison (default: compare-MODEL and time)")
    option(name, "--resume NAME", "go on with a comparison; needs no other option")
    add_runs_dir(parser)
    # Options of `bitfront search` that the paper's problem decides.
    unused = dict.fromkeys(("hold", "evaluations", "time_budget", "plateau", "first_images", "stage_drop"))
    parser.set_defaults(
        bits="4,8",
        formats=(),
        space="encoder-kind",
        allow_uniform=False,
        objectives=(),
        sampler=ABLATED_SAMPLER,
        **unused,
    )


def run(args: argparse.Namespace) -> int:
    """Compares, goes on with a comparison, or opens some, and prints the tables."""
    from bitfront.evaluators.files import check_writable

    if args.output is not None:
        check_writable(args.output)
    found = _opened(args) if args.comparisons else [_compared(args)]
    _print(found, args)
    return INTERRUPTED if not args.comparisons and found[0].interrupted else 0


def _opened(args: argparse.Namespace) -> list[ModelComparison]:
    """The comparisons that are named.

    Raises:
        UserError: An option of a new comparison was given, or a name is none.
    """
    from bitfront.search.session.compare import open_compared

    foreign = sorted(args.given - {*_SHOWN, "comparisons", "runs_dir"})
    if foreign:
        raise UserError(
            f"--{foreign[0].replace('_', '-')} cannot be given with names of comparisons, which are printed "
            "as they are: leave the names out to start one, or give --resume NAME to go on with one"
        )
    return [open_compared(name, args.runs_dir) for name in dict.fromkeys(args.comparisons)]


def _compared(args: argparse.Namespace) -> ModelComparison:
    from bitfront.search.cli.options.specs import check_resumable, chosen_workers, run_spec
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.compare import compare, resume_compare

    how: Any = {"runs_dir": args.runs_dir, "workers": chosen_workers(args), "progress": stderr_reporter()}
    if args.resume:
        check_resumable(args, "comparison", (*_CHANGEABLE, *_SHOWN))
        written = {name: getattr(args, name) for name in _CHANGEABLE if name in args.given}
        return resume_compare(args.resume, **written, **how)
    settings = {name: getattr(args, name) for name in (*_CHANGEABLE, "random_weights")}
    return compare(run_spec(args), **settings, name=args.run, **how)


def _print(found: Sequence[ModelComparison], args: argparse.Namespace) -> None:
    """The tables in the form that is asked for, and what to type next."""
    from bitfront.evaluators.files import write_atomically
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.model_tables import formatted, print_tables

    documents, folders = [each.figures for each in found], [each.folder for each in found]
    ending = "" if args.output is None else args.output.suffix
    form = args.format or _BY_ENDING.get(ending, TERMINAL)
    if args.output is not None:
        write_atomically(args.output, formatted(documents, form))
    if args.json:
        print_json(found[0].to_json() if len(found) == 1 else [each.to_json() for each in found])
        return
    if args.output is not None:
        print(args.output)
    elif form == TERMINAL:
        print_tables(documents, folders)
    else:
        print(formatted(documents, form), end="")
    hint(*_next(found))


def _next(found: Sequence[ModelComparison]) -> list[str]:
    """The rest of a comparison that was cut short, or the export of what was compared."""
    from bitfront.search.session.compare import resume_command
    from bitfront.search.session.comparison_runs import FRONTS

    unfinished = [resume_command(each.folder) for each in found if each.interrupted]
    if unfinished:
        return unfinished
    first = found[0]
    search = first.figures["searches"][0]
    front = first.folder / FRONTS / search["run"]
    return [run_command(front, "export", search["run"], "--pick", first.figures["pick"])]
