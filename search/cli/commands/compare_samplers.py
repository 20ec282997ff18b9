"""``bitfront compare-samplers``: which sampler finds how much of the front in how many evaluations."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitfront.search.cli.commands.search import (
    add_limit_options,
    add_space_options,
    add_worker_options,
)
from bitfront.search.cli.options.common import add_runs_dir, command_parser, natural, positive
from bitfront.search.cli.options.model import (
    add_machine_options,
    add_model_options,
    add_quantization_options,
)
from bitfront.search.samplers.registry import DEFAULT_EVALUATIONS, SAMPLERS

if TYPE_CHECKING:
    from bitfront.search.cli.options.common import Subparsers


DEFAULT_SAMPLERS = "surrogate-nsga2,nsga2,random,optuna-tpe,optuna-nsga2"
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
        default=DEFAULT_SAMPLERS,
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
        default=3,
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
    """Compares; see :func:`bitfront.search.session.compare_samplers.run_compare_samplers`."""
    from bitfront.search.session.compare_samplers import run_compare_samplers

    return run_compare_samplers(args)
