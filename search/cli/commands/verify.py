"""``bitfront verify``: whether an exported file computes what was evaluated."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.deployment.runtimes.registry import RUNTIMES
from bitfront.evaluators.deployment.tolerance import Tolerance
from bitfront.search.cli.options.common import FAILED, command_parser, percentage, positive

if TYPE_CHECKING:
    from bitfront.search.cli.options.common import Subparsers


_DETAIL = """\
Runs an exported file in its runtime and compares its predictions with the evaluator's: those kept beside the
file when it was exported or, with --rebuild or without such a record, those of the model prepared again.

  bitfront verify runs/NAME/exports/knee-0123456789ab.onnx
  bitfront verify model.xml --data photos/labels.csv --split all --rebuild
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Adds the command."""
    parser = command_parser(subparsers, "verify", "check an exported file in its runtime", _DETAIL)
    parser.add_argument("file", type=Path, metavar="FILE", help="an .onnx, .xml or .safetensors file")
    parser.add_argument(
        "--runtime",
        choices=tuple(RUNTIMES),
        help="what runs the file (default: the format's own, onnxruntime for .onnx)",
    )
    parser.add_argument(
        "--precision",
        choices=("f32", "bf16"),
        default="f32",
        help="of what is not quantized, where the runtime has a choice (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        choices=("test", "search", "calibration", "all"),
        default="test",
        help="images to classify (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="of the runtime (default: 1)"
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="prepare the model again, whatever was recorded beside the file",
    )
    parser.add_argument("--data", metavar="DATA", help="the data, where they have moved")
    parser.add_argument("--checkpoint", metavar="FILE", help="the float weights, where they have moved")
    add_tolerance_options(parser)
    parser.set_defaults(handler=run)
    return parser


def add_tolerance_options(parser: argparse.ArgumentParser) -> None:
    """How far a file may be from the evaluator."""
    group = parser.add_argument_group("tolerance")
    group.add_argument(
        "--top1-tolerance",
        type=percentage,
        default=Tolerance.top1,
        metavar="POINTS",
        help="largest difference of top-1, or three standard errors if that is more (default: %(default)s)",
    )
    group.add_argument(
        "--least-equal",
        type=percentage,
        default=Tolerance.equal,
        metavar="PERCENT",
        help="least share of equal predictions, or as many as the evaluator's own two sets of kernels agree "
        "on, less chance, where these are fewer (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Verifies a file; the status is 1 where it does not compute what was evaluated."""
    from bitfront.search.reports.console import print_json, stdout_console
    from bitfront.search.reports.evaluation import print_verification
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.verify import verify

    found = verify(
        args.file,
        split=args.split,
        rebuild=args.rebuild,
        runtime=args.runtime,
        precision=args.precision,
        threads=args.threads,
        tolerance=Tolerance(args.top1_tolerance, args.least_equal),
        checkpoint=args.checkpoint,
        data=args.data,
        progress=stderr_reporter(),
    )
    if args.json:
        print_json(found.to_json())
    else:
        stdout_console().print(f"against {found.against}", soft_wrap=True)
        print_verification(found.to_json())
    return 0 if found.passed else FAILED
