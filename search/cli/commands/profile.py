"""``bitfront profile``: what a model consists of, how it was prepared and what it is sensitive to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bitfront.evaluators.files import check_writable
from bitfront.search.cli.options.common import option, positive
from bitfront.search.cli.options.groups import (
    add_bits_option,
    add_device_option,
    add_formats_option,
    add_model_options,
    add_quantization_options,
    add_seed_option,
)
from bitfront.search.runs.names import command_line
from bitfront.spaces import GRANULARITIES, KINDS, Choices, UserError, triples
from bitfront.spaces.formats import label

if TYPE_CHECKING:
    from bitfront.search.session.profile import Sensitivities

SUMMARY = "show what a model consists of"
DETAIL = """\
Prepares a model and shows what it consists of: what its encoders' weights, activations and attention cost at
each width, the ingredients of the quantization recipe, and the ranges that were chosen. Then shows what each
gene of the search space costs the prediction when it alone is at the lowest width: as one pass of gradients
estimates it for all genes, and as evaluating each of them finds it, which takes one evaluation of the search
images for each gene.

  bitfront profile --plot sensitivities.png
  bitfront profile --space layer --sensitivities gradient
  bitfront profile --scheme deploy --without log-base --bits 4,6,8 --sensitivities none
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_model_options(parser)
    add_quantization_options(parser)
    group = parser.add_argument_group("preparing")
    add_bits_option(group, "widths to prepare")
    add_formats_option(group, "number formats to prepare")
    add_device_option(group, "what prepares the model")
    threads = "batches that are evaluated at the same time (default: what is quickest)"
    option(group, "--threads N", threads, positive)
    add_seed_option(group)
    group = parser.add_argument_group("sensitivities")
    genes = (
        "whose genes: one for each encoder; for its weights, activations and attention; or for each of its "
        "layers"
    )
    option(group, "--space", genes, default="encoder-kind", choices=GRANULARITIES)
    found = "evaluate every gene as well as estimating it, estimate alone (seconds), or leave them out"
    option(group, "--sensitivities", found, default="both", choices=("both", "gradient", "none"))
    option(group, "--plot FILE", "draw them to this PNG", Path)
    option(group, "--force", "overwrite an existing file")
    parser.set_defaults(batch_size=None)


def run(args: argparse.Namespace) -> int:
    """Prepares the model and prints its profile."""
    from bitfront.search.cli.options.specs import evaluation_spec, written_bits, written_options
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.profile import print_profile
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.profile import profile

    spec = evaluation_spec(args, written_bits(args), args.formats)
    sensitivities = _sensitivities(args, spec.choices)
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
    hint(
        command_line("evaluate", *written_options(args), "--uniform", label(triples(spec.choices)[-1])),
        command_line("search", *written_options(args, "bits", "formats", "space")),
    )
    return 0


def _sensitivities(args: argparse.Namespace, choices: Choices) -> Sensitivities:
    """What is asked for; none where kinds have one format alone, unless something was written.

    Raises:
        UserError: A plot of none.
    """
    single = all(len(choices.of(kind)) < 2 for kind in KINDS)
    if single and not {"sensitivities", "plot"} & args.given:
        return "none"
    if args.sensitivities == "none" and args.plot is not None:
        raise UserError("--plot needs sensitivities to draw: leave out --sensitivities none")
    return cast("Sensitivities", args.sensitivities)
