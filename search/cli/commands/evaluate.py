"""``bitfront evaluate``: what one configuration is worth."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitfront.search.cli.options.common import command_parser, natural
from bitfront.search.cli.options.model import (
    add_latency_option,
    add_machine_options,
    add_model_options,
    add_quantization_options,
)

if TYPE_CHECKING:
    from bitfront.search.cli.options.common import Subparsers


_DETAIL = """\
Measures one configuration on the test split: accuracy, latency and size, against the float model.

  bitfront evaluate --uniform W8A8T4
  bitfront evaluate --config runs/NAME/exports/knee-0123456789ab.json
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Adds the command."""
    parser = command_parser(subparsers, "evaluate", "measure one configuration", _DETAIL)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", metavar="FILE", help="bit config written by `bitfront export`")
    which.add_argument(
        "--uniform",
        metavar="WxAxTx",
        help="the same widths in every encoder: weights, activations, attention (default: W8A8T8)",
    )
    add_model_options(parser)
    add_quantization_options(parser)
    group = parser.add_argument_group("measuring")
    add_latency_option(group)
    add_machine_options(group)
    group.add_argument(
        "--seed", type=natural, default=0, metavar="N", help="seed of the splits (default: %(default)s)"
    )
    parser.set_defaults(handler=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluates; see :func:`bitfront.search.session.evaluate.run_evaluate`."""
    from bitfront.search.session.evaluate import run_evaluate

    return run_evaluate(args)
