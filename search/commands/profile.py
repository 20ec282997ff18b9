"""``bitfront profile``: a model's costs and sensitivities, the recipe and what the preparation chose."""

from __future__ import annotations

import argparse
import shlex

from bitfront.search.commands.evaluation_spec import evaluation_spec, written_options
from bitfront.search.commands.profile_document import profile_document
from bitfront.search.commands.profile_report import print_profile
from bitfront.search.commands.sensitivities import BOTH, NONE, chosen_sensitivities, find_sensitivities
from bitfront.search.preparation import preparing
from bitfront.spaces import parse_bits


def run_profile(args: argparse.Namespace) -> int:
    """Prepares the model, prints its profile and returns the exit status.

    Raises:
        UserError: The model or the data cannot be used, or an option cannot be read.
    """
    from bitfront.evaluators.context import EvaluationContext
    from bitfront.search.cli.output import hint, print_json, stderr_console
    from bitfront.search.cli.output_file import check_output
    from bitfront.search.cli.stages import stage

    widths = parse_bits(args.bits)
    chosen = chosen_sensitivities(args, widths)
    if args.plot is not None:
        check_output(args.plot, args.force, "--plot")
    if chosen != BOTH:  # nothing is classified, so that no batch size needs to be measured
        args.batch_size = 1
    spec = evaluation_spec(args, widths)
    with stage(stderr_console(), preparing(spec)) as share_done:
        context = EvaluationContext.from_spec(spec, share_done)
    document = profile_document(context)
    if chosen != NONE:
        document["sensitivities"] = find_sensitivities(context, args.space, chosen)
    if args.plot is not None:
        from bitfront.search.plots.sensitivity import draw_sensitivities

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
