"""Profiling a model: what it costs, how it was prepared, and what its genes are sensitive to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.reports.profile_document import profile_document, sensitivity_document
from bitfront.search.session.inputs import preparing
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import settled_spec, with_test_folder
from bitfront.spaces import Granularity, SearchSpace, check_choices
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from torch import nn

    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.data.given_images import LabelledImages

Sensitivities = Literal["both", "gradient", "none"]


@dataclass(frozen=True)
class Profile:
    """What a model consists of.

    Attributes:
        spec: What was profiled.
        figures: Costs by site, the recipe and the chosen grids; sizes are bytes, MACs those of one image.
        sensitivities: What each gene costs the prediction when it alone is at the lowest width, with ranks
            and their correlations; None where they were left out.
    """

    spec: EvaluationSpec
    figures: Mapping[str, Any]
    sensitivities: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        found = {} if self.sensitivities is None else {"sensitivities": self.sensitivities}
        return {**self.figures, **found}


def profile(
    spec: EvaluationSpec | None = None,
    *,
    space: Granularity = "encoder-kind",
    sensitivities: Sensitivities = "both",
    model: nn.Module | None = None,
    data: LabelledImages | None = None,
    calibration_data: LabelledImages | None = None,
    test_data: LabelledImages | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Profile:
    """Prepares a model and tells what it consists of and what it is sensitive to.

    Args:
        spec: Model, data, quantization and the formats to prepare; None for the defaults.
        space: Granularity of the genes whose sensitivities are found.
        sensitivities: ``gradient`` estimates those of all genes in one pass, ``both`` also evaluates each
            gene on the search images, ``none`` leaves them out.
        model: A timm model in memory, instead of that of the spec.
        data: A map-style data set of images and labels, instead of that of the spec.
        calibration_data: Such a data set for calibration alone.
        test_data: Such a data set for the test split alone.
        progress: Is told of the steps.

    Raises:
        UserError: The model or the data cannot be used, or sensitivities are asked for with one width.
    """
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.search.session.given_inputs import given_inputs

    spec, reporter = with_test_folder(spec or EvaluationSpec()), reporter_of(progress)
    if sensitivities != "none":
        check_choices(spec.choices, space, "sensitivities compare")
    if sensitivities != "both":  # nothing is classified, so that no batch size needs to be measured
        spec = dataclasses.replace(spec, batch_size=1)
    # Every gene is evaluated: their order shows on hundreds of images.
    spec, _ = settled_spec(dataclasses.replace(spec, tell_apart=None))
    with given_inputs(spec, model, data, calibration_data, test_data) as given:
        with reporter.stage(preparing(given)) as share_done:
            context = EvaluationContext.from_spec(given, share_done, note=reporter.note)
        figures, found = profile_document(context), None
        if sensitivities != "none":
            found = _sensitivities(context, space, sensitivities == "both", reporter)
        return Profile(given, figures, found)


def _sensitivities(
    context: EvaluationContext, granularity: Granularity, measured: bool, reporter: Reporter
) -> dict[str, Any]:
    """Estimates the sensitivities of a space's genes and, on request, measures them."""
    from bitfront.evaluators.sensitivity.gene_scores import gene_scores
    from bitfront.evaluators.sensitivity.one_flip import one_flips

    spec = context.spec
    space = SearchSpace(spec.model, spec.scheme, context.encoders, spec.choices, granularity)
    with reporter.stage(f"gradient scores of {count_of(len(space), 'gene')}, one pass") as share_done:
        scores = gene_scores(context, space, share_done)
    flips = None
    if measured:
        images = count_of(len(context.images("search")), "image")
        what = f"one-flip sensitivities, {len(space) + 1} evaluations of {images}"
        with reporter.stage(what) as share_done:
            flips = one_flips(context, space, share_done)
    return sensitivity_document(context, space, flips, scores)
