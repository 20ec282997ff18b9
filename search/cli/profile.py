"""``bitfront profile``: what a model consists of and how it was prepared."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitfront.search.cli.model_options import (
    add_device_option,
    add_model_options,
    add_quantization_options,
)
from bitfront.search.cli.options import command_parser, natural, positive

if TYPE_CHECKING:
    from bitfront.search.cli.options import Subparsers

_DETAIL = """\
Prepares a model and shows what it consists of: what its encoders' weights, activations and attention cost at
each width, the ingredients of the quantization recipe, and the ranges that were chosen.

  bitfront profile
  bitfront profile --scheme deploy --without log-base --bits 4,6,8
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Adds the command."""
    parser = command_parser(subparsers, "profile", "show what a model consists of", _DETAIL)
    add_model_options(parser)
    add_quantization_options(parser)
    group = parser.add_argument_group("preparing")
    group.add_argument(
        "--bits", default="4,8", metavar="LIST", help="widths to prepare, from 2 to 8 (default: %(default)s)"
    )
    add_device_option(group, "what prepares the model")
    group.add_argument(
        "--threads", type=positive, metavar="N", help="threads that prepare (default: chosen for the model)"
    )
    group.add_argument(
        "--seed", type=natural, default=0, metavar="N", help="seed of the splits (default: %(default)s)"
    )
    # Nothing is classified, so that no batch size needs to be measured.
    parser.set_defaults(handler=run, batch_size=1)
    return parser


def run(args: argparse.Namespace) -> int:
    """Profiles; see :func:`bitfront.search.commands.profile.run_profile`."""
    from bitfront.search.commands.profile import run_profile

    return run_profile(args)
