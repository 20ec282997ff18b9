"""``bitfront profile``: a model's costs and sensitivities, the recipe and what the preparation chose."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bitfront.search.cli.options.specs import evaluation_spec, written_options
from bitfront.search.reports.profile import print_profile
from bitfront.search.reports.profile_document import profile_document
from bitfront.search.reports.sensitivity_document import sensitivity_document
from bitfront.search.session.inputs import preparing
from bitfront.spaces import SearchSpace, UserError, parse_bits

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext


BOTH, GRADIENT, NONE = "both", "gradient", "none"


def chosen_sensitivities(args: argparse.Namespace, widths: Sequence[int]) -> str:
    """What is asked for; none where there is one width alone, unless something was written.

    Raises:
        UserError: Sensitivities of one width, or a plot of none.
    """
    chosen: str = args.sensitivities
    written = {"sensitivities", "plot"} & set(args.given)
    if len(set(widths)) < 2 and chosen != NONE:
        if written:
            raise UserError(f"--bits {args.bits}: sensitivities compare at least two widths, such as 4,8")
        return NONE
    if chosen == NONE and args.plot is not None:
        raise UserError("--plot needs sensitivities to draw: leave out --sensitivities none")
    return chosen


def find_sensitivities(context: EvaluationContext, granularity: Any, chosen: str) -> dict[str, Any]:
    """Estimates and, if so chosen, measures the sensitivities of a space's genes; progress goes to stderr."""
    from bitfront.evaluators.sensitivity.gene_scores import gene_scores
    from bitfront.evaluators.sensitivity.one_flip import one_flips
    from bitfront.search.reports.console import stderr_console
    from bitfront.search.reports.progress import stage

    console, spec = stderr_console(), context.spec
    space = SearchSpace(spec.model, spec.scheme, context.encoders, spec.widths, granularity)
    with stage(console, f"gradient scores of {len(space)} genes, one pass") as share_done:
        scores = gene_scores(context, space, share_done)
    flips = None
    if chosen == BOTH:
        images = len(context.images("search"))
        what = f"one-flip sensitivities, {len(space) + 1} evaluations of {images} images"
        with stage(console, what) as share_done:
            flips = one_flips(context, space, share_done)
    return sensitivity_document(context, space, flips, scores)


def run_profile(args: argparse.Namespace) -> int:
    """Prepares the model, prints its profile and returns the exit status.

    Raises:
        UserError: The model or the data cannot be used, or an option cannot be read.
    """
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.search.cli.options.common import check_output
    from bitfront.search.reports.console import hint, print_json, stderr_console
    from bitfront.search.reports.progress import stage

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
