"""``bitfront profile``: what a model consists of, how it was prepared and what it is sensitive to."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bitfront.evaluators.files import check_writable
from bitfront.search.cli.options.common import command_parser, natural, positive
from bitfront.search.cli.options.model import add_device_option, add_model_options, add_quantization_options
from bitfront.spaces import GRANULARITIES, UserError, parse_bits

if TYPE_CHECKING:
    from bitfront.search.cli.options.common import Subparsers
    from bitfront.search.session.profile import Sensitivities


_DETAIL = """\
Prepares a model and shows what it consists of: what its encoders' weights, activations and attention cost at
each width, the ingredients of the quantization recipe, and the ranges that were chosen. Then shows what each
gene of the search space costs the prediction when it alone is at the lowest width: as one pass of gradients
estimates it for all genes, and as evaluating each of them finds it, which takes one evaluation of the search
images for each gene.

  bitfront profile --plot sensitivities.png
  bitfront profile --space layer --sensitivities gradient
  bitfront profile --scheme deploy --without log-base --bits 4,6,8 --sensitivities none
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
        "--threads",
        type=positive,
        metavar="N",
        help="batches that are evaluated at the same time (default: what is quickest)",
    )
    group.add_argument(
        "--seed", type=natural, default=0, metavar="N", help="seed of the splits (default: %(default)s)"
    )
    _add_sensitivity_options(parser)
    parser.set_defaults(handler=run, batch_size=None)
    return parser


def _add_sensitivity_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sensitivities")
    group.add_argument(
        "--space",
        choices=GRANULARITIES,
        default="encoder-kind",
        help="whose genes: one for each encoder; for its weights, activations and attention; or for each of "
        "its layers (default: %(default)s)",
    )
    group.add_argument(
        "--sensitivities",
        choices=("both", "gradient", "none"),
        default="both",
        help="evaluate every gene as well as estimating it, estimate alone (seconds), or leave them out "
        "(default: %(default)s)",
    )
    group.add_argument("--plot", type=Path, metavar="FILE", help="draw them to this PNG")
    group.add_argument("--force", action="store_true", help="overwrite an existing file")


def run(args: argparse.Namespace) -> int:
    """Prepares the model and prints its profile."""
    from bitfront.search.cli.options.specs import evaluation_spec, written_options
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.profile import print_profile
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.profile import profile

    spec = evaluation_spec(args, parse_bits(args.bits))
    sensitivities = _sensitivities(args, spec.widths)
    if args.plot is not None:
        check_writable(args.plot, overwrite=args.force)
    found = profile(spec, space=args.space, sensitivities=sensitivities, progress=stderr_reporter())
    document = found.to_json()
    if args.plot is not None:
        from bitfront.search.reports.plots.sensitivity import draw_sensitivities

        draw_sensitivities(document["sensitivities"], args.plot, spec.model)
        document["plot"] = str(args.plot)
    if args.json:
        print_json(document)
        return 0
    print_profile(document)
    narrow, same = min(spec.widths), written_options(args)
    searched = ["--bits", args.bits] if "bits" in args.given else []
    searched += ["--space", args.space] if "space" in args.given else []
    hint(
        shlex.join(["bitfront", "evaluate", *same, "--uniform", f"W{narrow}A{narrow}T{narrow}"]),
        shlex.join(["bitfront", "search", *same, *searched]),
    )
    return 0


def _sensitivities(args: argparse.Namespace, widths: Sequence[int]) -> Sensitivities:
    """What is asked for; none where there is one width alone, unless something was written.

    Raises:
        UserError: A plot of none.
    """
    if len(widths) < 2 and not {"sensitivities", "plot"} & args.given:
        return "none"
    if args.sensitivities == "none" and args.plot is not None:
        raise UserError("--plot needs sensitivities to draw: leave out --sensitivities none")
    return cast("Sensitivities", args.sensitivities)
