"""``bitfront search``: finds a front."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitfront.search.cli.model_options import (
    add_latency_option,
    add_machine_options,
    add_model_options,
    add_quantization_options,
)
from bitfront.search.cli.options import add_runs_dir, command_parser, natural, percentage, positive

if TYPE_CHECKING:
    from bitfront.search.cli.options import Subparsers

SAMPLERS = ("nsga2", "random")
SPACES = ("encoder", "encoder-kind", "layer")
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
    _add_space_options(parser)
    _add_limit_options(parser)
    _add_search_options(parser)
    _add_run_options(parser)
    parser.set_defaults(handler=run)
    return parser


def _add_space_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("space and objectives")
    group.add_argument(
        "--space",
        choices=SPACES,
        default="encoder-kind",
        help="one width for each encoder; for its weights, activations and attention; or for each of its "
        "layers (default: %(default)s)",
    )
    group.add_argument(
        "--bits", default="4,8", metavar="LIST", help="allowed widths, from 2 to 8 (default: %(default)s)"
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
        help="what is traded off, out of top1, latency, size, loss and kl (default: %(default)s)",
    )
    add_latency_option(group)


def _add_limit_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    group.add_argument("--max-latency", metavar="TIME", help="such as 12ms, or 0.9x of the float model's")
    group.add_argument("--max-size", metavar="SIZE", help="such as 4MB, or 0.6x of the float model's")
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
        choices=SAMPLERS,
        default="nsga2",
        help="what proposes candidates (default: %(default)s)",
    )
    group.add_argument(
        "--evaluations",
        type=positive,
        default=200,
        metavar="N",
        help="candidates to evaluate (default: %(default)s)",
    )
    group.add_argument(
        "--time-budget", metavar="TIME", help="stop after 90s, 10m or 1h30m (default: no limit)"
    )
    group.add_argument(
        "--population",
        type=positive,
        default=32,
        metavar="N",
        help="candidates proposed at a time (default: %(default)s)",
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
    add_machine_options(group)
    group.add_argument(
        "--storage", metavar="URL", help="database for the Optuna study (default: the run folder)"
    )
    name = group.add_mutually_exclusive_group()
    name.add_argument("--run", metavar="NAME", help="name of the new run (default: model and time)")
    name.add_argument("--resume", metavar="NAME", help="go on with a run; needs no other option")
    add_runs_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Searches; see :func:`bitfront.search.commands.search.run_search`."""
    from bitfront.search.commands.search import run_search

    return run_search(args)
