"""``bitfront compare-samplers``: which sampler finds how much of the front in how many evaluations."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitfront.search.cli.commands.search import add_limit_options, add_space_options, add_worker_options
from bitfront.search.cli.options.common import INTERRUPTED, add_runs_dir, command_parser, natural, positive
from bitfront.search.cli.options.model import add_machine_options, add_model_options, add_quantization_options
from bitfront.search.samplers.registry import COMPARED_SAMPLERS, COMPARED_SEEDS, DEFAULT_EVALUATIONS, SAMPLERS
from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.search.cli.options.common import Subparsers
    from bitfront.search.session.compare_samplers import Comparison
    from bitfront.search.session.worker_pool import WorkerOptions


# Fewer tell no differences of a few percent.
ENOUGH_SEEDS = 10
# Options that may be written beside --resume, with those of the workers.
_WITH_RESUME = {"resume", "samplers", "seeds", "evaluations", "truth", "runs_dir"}
_DETAIL = """\
Runs several samplers with several seeds on the same problem, and prints and draws the hypervolume that each
has after equal numbers of distinct evaluations. An evaluation of a configuration is paid for once and shared
by all of them. With --truth all configurations of a small space are evaluated first, and hypervolumes are
shares of the true front's.

  bitfront compare-samplers --space encoder --latency model:bops --truth --seeds 10
  bitfront compare-samplers --samplers surrogate-nsga2,nsga2 --evaluations 200 --max-drop 1

samplers:
{samplers}

Writes comparison.md, comparison.png and curves.csv in a folder of its own beside the runs. Ctrl-C, or a kill,
loses no evaluation: --resume goes on, also with more --seeds, other --samplers or --evaluations.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Adds the command."""
    listed = "\n".join(f"  {name:17}{kind.summary}" for name, kind in SAMPLERS.items())
    detail = _DETAIL.format(samplers=listed)
    parser = command_parser(
        subparsers, "compare-samplers", "compare samplers on a model at equal evaluations", detail
    )
    add_model_options(parser)
    add_quantization_options(parser)
    add_space_options(parser)
    add_limit_options(parser)
    _add_comparison_options(parser)
    _add_run_options(parser)
    # Options of `bitfront search` that a comparison decides by itself: every sampler as it is by default, and
    # every candidate on all images.
    parser.set_defaults(
        handler=run, sampler="nsga2", population=None, time_budget=None, plateau=None, first_images=None
    )
    return parser


def _add_comparison_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--samplers",
        default=",".join(COMPARED_SAMPLERS),
        metavar="LIST",
        help="samplers to compare, with commas between (default: %(default)s)",
    )
    group.add_argument(
        "--evaluations",
        type=positive,
        default=DEFAULT_EVALUATIONS,
        metavar="N",
        help="distinct candidates that each search may evaluate (default: %(default)s)",
    )
    group.add_argument(
        "--seeds",
        type=positive,
        default=COMPARED_SEEDS,
        metavar="N",
        help="searches with each sampler; differences of a few percent need 10 (default: %(default)s)",
    )
    group.add_argument(
        "--seed",
        type=natural,
        default=0,
        metavar="N",
        help="seed of the splits and of each sampler's first search (default: %(default)s)",
    )
    group.add_argument(
        "--truth",
        action="store_true",
        help="evaluate all configurations first, at most 65,536, to know the true front",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("folder and machine")
    add_worker_options(group)
    add_machine_options(group)
    name = group.add_mutually_exclusive_group()
    name.add_argument(
        "--run", metavar="NAME", help="name of the comparison (default: compare-MODEL and time)"
    )
    name.add_argument("--resume", metavar="NAME", help="go on with a comparison; needs no other option")
    add_runs_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Compares, or goes on with a comparison, and prints what was found."""
    from bitfront.search.cli.options.specs import run_spec, worker_options
    from bitfront.search.reports.comparison import print_comparison
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.compare_samplers import PICTURE, compare_samplers

    workers = worker_options(args)
    if args.resume:
        found = _resumed(args, workers)
    else:
        found = compare_samplers(
            run_spec(args),
            args.samplers,
            seeds=args.seeds,
            truth=args.truth,
            name=args.run,
            runs_dir=args.runs_dir,
            workers=workers,
            progress=stderr_reporter(),
        )
    if args.json:
        print_json(found.to_json())
    else:
        print_comparison(found.figures, found.folder)
        hint(_next(found), f"picture in {found.folder / PICTURE}")
    return INTERRUPTED if found.interrupted else 0


def _resumed(args: argparse.Namespace, workers: WorkerOptions) -> Comparison:
    from bitfront.search.cli.options.specs import WORKER_OPTIONS
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.runs.names import checked_name
    from bitfront.search.session.compare_samplers import resume_comparison

    foreign = sorted(args.given - _WITH_RESUME - WORKER_OPTIONS)
    if foreign:
        raise UserError(
            f"--{foreign[0].replace('_', '-')} cannot be given with --resume: comparison "
            f"{checked_name(args.resume)} keeps its settings; only --samplers, --seeds, --evaluations, "
            "--truth and the options of the machine may be"
        )
    written = {
        name: getattr(args, name) for name in ("samplers", "seeds", "evaluations") if name in args.given
    }
    return resume_comparison(
        args.resume,
        **written,
        truth=args.truth,
        runs_dir=args.runs_dir,
        workers=workers,
        progress=stderr_reporter(),
    )


def _next(found: Comparison) -> str:
    """What to type next: the rest of the searches, more seeds, or a search with the best sampler."""
    from bitfront.search.session.compare_samplers import resume_command
    from bitfront.search.session.comparison.measures import FIXED, TIGHT

    figures, resume = found.figures, resume_command(found.folder)
    if found.interrupted:
        return resume
    fewest = min(len(sampler["seeds"]) for sampler in figures["samplers"])
    if fewest < ENOUGH_SEEDS:
        return f"{resume} --seeds {ENOUGH_SEEDS}"
    boxes = figures["goal"]["boxes"]
    box = TIGHT if TIGHT in boxes else FIXED
    best = max(figures["samplers"], key=lambda sampler: sampler["hypervolume"][box][-1]["median"])
    return f"bitfront search --sampler {best['sampler']}, with the options of this comparison"
