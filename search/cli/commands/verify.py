"""``bitfront verify``: whether an exported file computes what was evaluated."""

from __future__ import annotations

import argparse
from pathlib import Path

from bitfront.evaluators.deployment.runtimes.registry import RUNTIMES
from bitfront.evaluators.deployment.tolerance import Tolerance
from bitfront.search.cli.options.common import FAILED, option, percentage, positive
from bitfront.search.cli.options.groups import add_other_data_options

SUMMARY = "check an exported file in its runtime"
DETAIL = """\
Runs an exported file in its runtime and compares its predictions with the evaluator's: those kept beside the
file when it was exported or, with --rebuild or without such a record, those of the model prepared again.

  bitfront verify runs/NAME/exports/knee-0123456789ab-onnx
  bitfront verify model.xml --data photos/labels.csv --split all --rebuild
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    what = "an exported folder, or an .onnx, .xml or .safetensors file"
    parser.add_argument("file", type=Path, metavar="FILE", help=what)
    runtime = "what runs the file (default: the format's own, onnxruntime for .onnx)"
    option(parser, "--runtime", runtime, choices=RUNTIMES)
    precision = "of what is not quantized, where the runtime has a choice"
    option(parser, "--precision", precision, default="f32", choices=("f32", "bf16"))
    splits = ("test", "search", "calibration", "all")
    option(parser, "--split", "images to classify", default="test", choices=splits)
    option(parser, "--threads N", "of the runtime", positive, 1)
    option(parser, "--rebuild", "prepare the model again, whatever was recorded beside the file")
    option(parser, "--data DATA", "the data, where they have moved")
    add_other_data_options(parser, "the {} images, where they were apart and have moved")
    option(parser, "--class-map FILE", "the class map, where it has moved")
    option(parser, "--checkpoint FILE", "the float weights, where they have moved")
    option(parser, "--refinement FILE", "what `bitfront refine` learned, where that has moved")
    add_tolerance_options(parser)


def add_tolerance_options(parser: argparse.ArgumentParser) -> None:
    """How far a file may be from the evaluator."""
    group = parser.add_argument_group("tolerance")
    points = (
        "largest difference of top-1, and of other metrics in percent that were measured, or three standard "
        "errors if that is more"
    )
    option(group, "--top1-tolerance POINTS", points, percentage, Tolerance.share)
    equal = (
        "least share of equal predictions, or as many as the evaluator's own two sets of kernels agree on, "
        "less chance, where these are fewer"
    )
    option(group, "--least-equal PERCENT", equal, percentage, Tolerance.equal)


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
        calibration_data=args.calibration_data,
        test_data=args.test_data,
        class_map=args.class_map,
        refinement=args.refinement,
        progress=stderr_reporter(),
    )
    if args.json:
        print_json(found.to_json())
    else:
        stdout_console().print(f"against {found.against}", soft_wrap=True)
        print_verification(found.to_json())
    return 0 if found.passed else FAILED
