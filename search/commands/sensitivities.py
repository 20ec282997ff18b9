"""Finding the sensitivities that ``bitfront profile`` shows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bitfront.search.commands.sensitivity_document import sensitivity_document
from bitfront.spaces import SearchSpace, UserError

if TYPE_CHECKING:
    from bitfront.evaluators.context import EvaluationContext

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
    from bitfront.search.cli.output import stderr_console
    from bitfront.search.cli.stages import stage
    from bitfront.search.gene_scores import gene_scores
    from bitfront.search.one_flip import one_flips

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
