"""``bitfront export``: one configuration of a run as a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.deployment.mappings.registry import MAPPINGS
from bitfront.evaluators.deployment.registry import FORMATS
from bitfront.evaluators.deployment.runtimes.registry import RUNTIMES
from bitfront.search.cli.commands.verify import add_tolerance_options
from bitfront.search.cli.options.common import add_run_argument, command_parser

if TYPE_CHECKING:
    from bitfront.search.cli.options.common import Subparsers


CHOICES = ("json", *FORMATS, *MAPPINGS)
_DETAIL = """\
Writes one configuration of a run: a point of its front, or the same bits everywhere.

  json      the bit config: the bits of every encoder, what was measured and where it comes from
  onnx      a model that runs in ONNX Runtime and OpenVINO (scheme deploy), written for the fast paths of one
  openvino  a model in OpenVINO's own format (scheme deploy)
  packed    a safetensors file as small as its codes, which bitfront rebuilds to the bit (both schemes)
  torchao, nncf, modelopt
            the bits by module name, as these toolchains read them

Files that compute are verified at once: they classify the test split in the runtime itself, and the figures
are printed and kept beside the file. The exit status is 1 where they are not the evaluator's.

The knee is the point that balances accuracy against latency and size: nearest the best of each, on a scale of
ratios.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Adds the command."""
    parser = command_parser(subparsers, "export", "write a configuration as a file that runs", _DETAIL)
    add_run_argument(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--pick",
        default="knee",
        metavar="POINT",
        help="knee, top1 (best), latency (fastest), size (smallest) or a trial number (default: %(default)s)",
    )
    which.add_argument("--uniform", metavar="WxAxTx", help="the same widths in every encoder instead")
    parser.add_argument(
        "--format",
        choices=CHOICES,
        default="json",
        metavar="FORMAT",
        help=f"{', '.join(CHOICES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--runtime",
        choices=tuple(RUNTIMES),
        help="whose fast paths an onnx file is written for, and what verifies it (default: onnxruntime)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="file to write (default: in exports of the run folder)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite a file that holds something else")
    moved = parser.add_argument_group("where the run's own files have moved")
    moved.add_argument("--checkpoint", metavar="FILE", help="the weights that the run searched with")
    moved.add_argument("--data", metavar="DATA", help="the data that the run searched with")
    add_tolerance_options(parser)
    parser.set_defaults(handler=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Exports; see :func:`bitfront.search.session.export.run_export`."""
    from bitfront.search.session.export import run_export

    return run_export(args)
