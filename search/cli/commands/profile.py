"""``bitfront profile``: what a model consists of, how it was prepared and what it is sensitive to."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bitfront.evaluators.files import check_writable, write_atomically
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

CHOICES = ("all", "both", "gradient", "spectral", "none")
SUMMARY = "show what a model consists of"
DETAIL = """\
Prepares a model and shows what it consists of: what its encoders' weights, activations and attention cost at
each width, the ingredients of the quantization recipe, and the ranges that were chosen. Then shows what each
gene of the search space costs the prediction when it alone is at the lowest width: as one pass of gradients
estimates it for all genes, and as evaluating each of them finds it, which takes one evaluation of the search
images for each gene. The spectral sensitivity S (VQ-ViT) is that of weights: the share of the largest
singular value times the mean norm of the gradient. --assign makes a configuration of it by thresholds.

  bitfront profile --plot sensitivities.png
  bitfront profile --space layer --sensitivities gradient
  bitfront profile --space layer --sensitivities all --plot ranks.png
  bitfront profile --space layer --sensitivities spectral --assign size=0.15x --output assigned.json
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
    found = (
        "all: gradient scores, spectral sensitivities S and an evaluation of every gene; both: without S; "
        "gradient or spectral: that alone (seconds); none"
    )
    option(group, "--sensitivities", found, default="both", choices=CHOICES)
    option(group, "--plot FILE", "draw them to this PNG", Path)
    assign = (
        "assign widths by thresholds on S: the shares of genes up to each threshold, such as 0.3,0.7; "
        "size=3.2MB, or size=0.15x of the float model's; or drop=1, points on the search images"
    )
    option(group, "--assign HOW", assign)
    option(group, "--output FILE", "bit config of --assign to write, for `bitfront evaluate --config`", Path)
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
    if args.output is not None and args.assign is None:
        raise UserError("--output writes what is assigned: give --assign, too")
    for path in filter(None, (args.plot, args.output)):
        check_writable(path, overwrite=args.force)
    found = profile(
        spec, space=args.space, sensitivities=sensitivities, assign=args.assign, progress=stderr_reporter()
    )
    document = found.to_json()
    if args.output is not None:
        write_atomically(args.output, json.dumps(found.assigned, indent=2, allow_nan=False) + "\n")
        document["assigned"]["file"] = str(args.output)
    if args.plot is not None:
        from bitfront.search.reports.plots.sensitivity import draw_sensitivities

        draw_sensitivities(document["sensitivities"], args.plot, spec.model)
        document["plot"] = str(args.plot)
    if args.json:
        print_json(document)
        return 0
    print_profile(document)
    if args.output is not None:
        hint(command_line("evaluate", "--config", str(args.output)))
        return 0
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
