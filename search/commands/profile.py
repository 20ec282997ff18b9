"""``bitfront profile``: a model's sites, their costs, the recipe and what the preparation chose."""

from __future__ import annotations

import argparse
import shlex

from bitfront.search.commands.evaluation_spec import evaluation_spec, written_options
from bitfront.search.commands.profile_document import profile_document
from bitfront.search.commands.profile_report import print_profile
from bitfront.search.preparation import preparing
from bitfront.spaces import parse_bits


def run_profile(args: argparse.Namespace) -> int:
    """Prepares the model, prints its profile and returns the exit status.

    Raises:
        UserError: The model or the data cannot be used, or an option cannot be read.
    """
    from bitfront.evaluators.context import EvaluationContext
    from bitfront.search.cli.output import hint, print_json, stderr_console
    from bitfront.search.cli.stages import stage

    spec = evaluation_spec(args, parse_bits(args.bits))
    with stage(stderr_console(), preparing(spec)) as share_done:
        context = EvaluationContext.from_spec(spec, share_done)
    document = profile_document(context)
    if args.json:
        print_json(document)
        return 0
    print_profile(document)
    narrow, same = min(spec.widths), written_options(args)
    searched = ["--bits", args.bits] if "bits" in args.given else []
    hint(
        shlex.join(["bitfront", "evaluate", *same, "--uniform", f"W{narrow}A{narrow}T{narrow}"]),
        shlex.join(["bitfront", "search", *same, *searched]),
    )
    return 0
