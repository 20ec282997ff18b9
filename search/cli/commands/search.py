"""``bitfront search``: finds a front."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitfront.search.cli.options.common import (
    INTERRUPTED,
    add_runs_dir,
    command_parser,
    natural,
    percentage,
    positive,
    positive_or_auto,
)
from bitfront.search.cli.options.model import (
    add_latency_option,
    add_machine_options,
    add_model_options,
    add_quantization_options,
)
from bitfront.search.problem.objectives import OBJECTIVES
from bitfront.search.samplers.registry import DEFAULT_EVALUATIONS, SAMPLERS
from bitfront.spaces import GRANULARITIES, BitfrontError, UserError

if TYPE_CHECKING:
    from bitfront.search.cli.options.common import Subparsers


# Options that a resumed run may change.
_EXTENDABLE = ("evaluations", "time_budget", "plateau")
_DETAIL = """\
Searches for the Pareto-best bit widths of a vision transformer and writes a run folder. Without options it
searches the built-in digits_deit, which takes a few minutes on two cores.

  bitfront search --max-size 0.2x --max-drop 1.0
  bitfront search --model deit_tiny_patch16_224 --pretrained --data path/to/imagenet/val --evaluations 100

Ctrl-C ends a search in good order; --resume goes on with it.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Adds the command."""
    parser = command_parser(subparsers, "search", "search for the front of a model", _DETAIL)
    add_model_options(parser)
    add_quantization_options(parser)
    add_space_options(parser)
    add_limit_options(parser)
    _add_search_options(parser)
    _add_run_options(parser)
    parser.set_defaults(handler=run)
    return parser


def add_space_options(parser: argparse.ArgumentParser) -> None:
    """Space, objectives and latency."""
    group = parser.add_argument_group("space and objectives")
    group.add_argument(
        "--space",
        choices=GRANULARITIES,
        default="encoder-kind",
        help="one width for each encoder; for its weights, activations and attention; or for each of its "
        "layers (default: %(default)s)",
    )
    group.add_argument(
        "--bits", default="4,8", metavar="LIST", help="allowed widths, from 2 to 8 (default: %(default)s)"
    )
    group.add_argument(
        "--hold",
        metavar="BITS",
        help="kinds that are not searched and their width, such as A8T8 to search weights alone",
    )
    group.add_argument(
        "--allow-uniform",
        action="store_true",
        help="also allow the same width everywhere (by default assignments are mixed)",
    )
    group.add_argument(
        "--objectives",
        default="top1,latency,size",
        metavar="LIST",
        help=f"what is traded off, out of {', '.join(OBJECTIVES)} (default: %(default)s)",
    )
    add_latency_option(group)


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """Limits on what is measured."""
    group = parser.add_argument_group("limits")
    group.add_argument("--max-latency", metavar="TIME", help="such as 12ms, or 0.9x of the float model's")
    group.add_argument("--max-size", metavar="SIZE", help="such as 4MB, or 0.6x of the float model's")
    group.add_argument(
        "--allow-slower",
        action="store_true",
        help="also allow what is slower than the float model, such as where latency is no objective",
    )
    group.add_argument(
        "--allow-larger",
        action="store_true",
        help="also allow what is larger than at 8 bits throughout, such as where size is no objective",
    )
    accuracy = group.add_mutually_exclusive_group()
    accuracy.add_argument("--min-top1", type=percentage, metavar="PERCENT", help="lowest top-1, such as 70")
    accuracy.add_argument(
        "--max-drop",
        type=percentage,
        metavar="POINTS",
        help="most points of top-1 below the float model, such as 1",
    )


def _add_search_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    group.add_argument(
        "--sampler",
        choices=tuple(SAMPLERS),
        default="surrogate-nsga2",
        metavar="NAME",
        help="what proposes candidates: "
        + "; ".join(f"{name} ({kind.summary})" for name, kind in SAMPLERS.items())
        + " (default: %(default)s)",
    )
    group.add_argument(
        "--evaluations",
        type=positive,
        metavar="N",
        help=f"candidates to evaluate (default: {DEFAULT_EVALUATIONS}; all of the space for exhaustive)",
    )
    group.add_argument(
        "--time-budget", metavar="TIME", help="stop after 90s, 10m or 1h30m (default: no limit)"
    )
    group.add_argument(
        "--plateau",
        type=positive,
        metavar="N",
        help="stop when the hypervolume has not grown in the last N evaluations (default: go on)",
    )
    group.add_argument(
        "--population",
        type=positive,
        metavar="N",
        help="candidates proposed at a time (default: as it suits the sampler)",
    )
    group.add_argument(
        "--first-images",
        type=positive_or_auto,
        metavar="N",
        help="evaluate every candidate on N search images first, and only contenders for the front on more "
        "(default: auto, all where there are few; the front is always evaluated on all)",
    )
    group.add_argument(
        "--seed",
        type=natural,
        default=0,
        metavar="N",
        help="seed of the splits and the sampler; the same seed finds the same front (default: %(default)s)",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run and machine")
    add_worker_options(group)
    add_machine_options(group)
    group.add_argument(
        "--storage", metavar="URL", help="database for the Optuna study (default: the run folder)"
    )
    name = group.add_mutually_exclusive_group()
    name.add_argument("--run", metavar="NAME", help="name of the new run (default: model and time)")
    name.add_argument("--resume", metavar="NAME", help="go on with a run; needs no other option")
    add_runs_dir(parser)


def add_worker_options(group: argparse._ArgumentGroup) -> None:
    """Who evaluates: workers of this machine or of a cluster, and what they may use."""
    workers = group.add_mutually_exclusive_group()
    workers.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="evaluation processes (default: chosen for this machine)",
    )
    workers.add_argument(
        "--cluster", metavar="URL", help="a running Dask scheduler, such as tcp://10.0.0.5:8786"
    )
    group.add_argument(
        "--send-data",
        action="store_true",
        help="send the model and the images to the workers of --cluster, which do not have them",
    )
    group.add_argument(
        "--evaluation-timeout",
        metavar="TIME",
        help="an evaluation that takes longer has hung: its worker is restarted (default: 20 times the "
        "longest one so far, at least 5m)",
    )
    group.add_argument(
        "--worker-memory",
        metavar="SIZE",
        help="memory that each worker may take, such as 4GB (default: an equal share of this machine's)",
    )


def run(args: argparse.Namespace) -> int:
    """Searches or resumes, and prints the front.

    Raises:
        BitfrontError: No configuration met the limits; the run folder is complete all the same.
    """
    from bitfront.search.cli.options.specs import run_spec, worker_arguments
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.front_table import front_document, print_front
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.search import resume, search

    options = {"runs_dir": args.runs_dir, "storage": args.storage, **worker_arguments(args)}
    if args.resume:
        _check_resumable(args)
        budgets = {name: getattr(args, name) for name in _EXTENDABLE}
        found = resume(args.resume, **budgets, **options, progress=stderr_reporter())
    else:
        found = search(run_spec(args), name=args.run, **options, progress=stderr_reporter())
    if args.json:
        print_json(front_document(found))
    elif len(found.front):
        print_front(found)
    if found.message and not found.interrupted:
        raise BitfrontError(found.message)
    if not args.json:
        where = f" --runs-dir {args.runs_dir}" if "runs_dir" in args.given else ""
        storage = " --storage URL" if args.storage else ""
        going_on = [f"bitfront search --resume {found.name}{where}{storage}"] if found.interrupted else []
        chosen = [f"bitfront export {found.name} --pick knee{where}"] if len(found.front) else []
        hint(*going_on, *chosen, f"pictures in {found.path / 'plots'}")
    return INTERRUPTED if found.interrupted else 0


def _check_resumable(args: argparse.Namespace) -> None:
    """Refuses settings of the run itself beside ``--resume``."""
    from bitfront.search.cli.options.specs import WORKER_OPTIONS
    from bitfront.search.runs.names import checked_name

    allowed = {*_EXTENDABLE, *WORKER_OPTIONS, "resume", "runs_dir", "storage"}
    foreign = sorted(args.given - allowed)
    if foreign:
        option = f"--{foreign[0].replace('_', '-')}"
        raise UserError(
            f"{option} cannot be given with --resume: run {checked_name(args.resume)} keeps its settings; "
            "only --evaluations, --time-budget, --plateau and the options of the machine may be"
        )
