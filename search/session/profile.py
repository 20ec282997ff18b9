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
    from bitfront.evaluators.sensitivity.spectral import SpectralScores
    from bitfront.search.session.assignment import AssignmentRequest

Sensitivities = Literal["all", "both", "gradient", "spectral", "none"]
# Which of them each choice has.
_MEASURED, _GRADIENT, _SPECTRAL = ("all", "both"), ("all", "both", "gradient"), ("all", "spectral")


@dataclass(frozen=True)
class Profile:
    """What a model consists of.

    Attributes:
        spec: What was profiled.
        figures: Costs by site, the recipe and the chosen grids; sizes are bytes, MACs those of one image.
        sensitivities: What each gene costs the prediction when it alone is at the lowest width, with ranks
            and their correlations; None where they were left out.
        assigned: The bit config document of the assignment by thresholds; None where none was asked for.
    """

    spec: EvaluationSpec
    figures: Mapping[str, Any]
    sensitivities: Mapping[str, Any] | None
    assigned: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        found = {} if self.sensitivities is None else {"sensitivities": self.sensitivities}
        if self.assigned is not None:
            found["assigned"] = self.assigned["provenance"]["assigned"]
        return {**self.figures, **found}


def profile(
    spec: EvaluationSpec | None = None,
    *,
    space: Granularity = "encoder-kind",
    sensitivities: Sensitivities = "both",
    assign: str | None = None,
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
            gene on the search images, ``spectral`` finds S (VQ-ViT) alone, ``all`` has all three, ``none``
            leaves them out.
        assign: What thresholds on S are to come to: shares of genes such as ``0.3,0.7``, ``size=3.2MB``,
            ``size=0.15x`` of the float model's, or ``drop=1`` points on the search images; None for no
            assignment.
        model: A timm model in memory, instead of that of the spec.
        data: A map-style data set of images and labels, instead of that of the spec.
        calibration_data: Such a data set for calibration alone.
        test_data: Such a data set for the test split alone.
        progress: Is told of the steps.

    Raises:
        UserError: The model or the data cannot be used, sensitivities are asked for with one width, or no
            assignment comes to what was asked for.
    """
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.search.session.assignment import AssignmentRequest
    from bitfront.search.session.given_inputs import given_inputs

    spec, reporter = with_test_folder(spec or EvaluationSpec()), reporter_of(progress)
    request = None if assign is None else AssignmentRequest.read(assign)
    if sensitivities != "none" or request is not None:
        check_choices(spec.choices, space, "sensitivities compare")
    # Nothing is classified, so that no batch size needs to be measured.
    if sensitivities not in _MEASURED and request is None:
        spec = dataclasses.replace(spec, batch_size=1)
    # Every gene is evaluated: their order shows on hundreds of images.
    spec, _ = settled_spec(dataclasses.replace(spec, tell_apart=None))
    with given_inputs(spec, model, data, calibration_data, test_data) as given:
        with reporter.stage(preparing(given)) as share_done:
            context = EvaluationContext.from_spec(given, share_done, note=reporter.note)
        figures = profile_document(context)
        if sensitivities == "none" and request is None:
            return Profile(given, figures, None)
        searched = SearchSpace(spec.model, spec.scheme, context.encoders, spec.choices, space)
        found, assigned, spectral = None, None, None
        if sensitivities in _SPECTRAL or request is not None:
            spectral = _spectral(context, searched, reporter)
        if sensitivities != "none":
            shown = spectral if sensitivities in _SPECTRAL else None
            found = _sensitivities(context, searched, sensitivities, shown, reporter)
        if request is not None and spectral is not None:
            assigned = _assigned(context, searched, spectral, request, reporter)
        return Profile(given, figures, found, assigned)


def _spectral(context: EvaluationContext, space: SearchSpace, reporter: Reporter) -> SpectralScores:
    from bitfront.evaluators.sensitivity.spectral import spectral_scores

    with reporter.stage(f"spectral sensitivities of {count_of(len(space), 'gene')}") as share_done:
        return spectral_scores(context, space, share_done)


def _assigned(
    context: EvaluationContext,
    space: SearchSpace,
    scores: SpectralScores,
    request: AssignmentRequest,
    reporter: Reporter,
) -> dict[str, Any]:
    """The bit config document of an assignment by thresholds."""
    from bitfront.search.session.assignment import assign

    with reporter.stage(f"assigning widths by thresholds ({request.text})") as share_done:
        found = assign(context, space, scores.values, request, share_done)
    return found.document(context, space)


def _sensitivities(
    context: EvaluationContext,
    space: SearchSpace,
    wanted: Sensitivities,
    spectral: SpectralScores | None,
    reporter: Reporter,
) -> dict[str, Any]:
    """The sensitivities of a space's genes that are wanted: estimated, measured, and those that are given."""
    from bitfront.evaluators.sensitivity.gene_scores import gene_scores
    from bitfront.evaluators.sensitivity.one_flip import one_flips

    scores, flips = None, None
    if wanted in _GRADIENT:
        with reporter.stage(f"gradient scores of {count_of(len(space), 'gene')}, one pass") as share_done:
            scores = gene_scores(context, space, share_done)
    if wanted in _MEASURED:
        images = count_of(len(context.images("search")), "image")
        what = f"one-flip sensitivities, {len(space) + 1} evaluations of {images}"
        with reporter.stage(what) as share_done:
            flips = one_flips(context, space, share_done)
    return sensitivity_document(context, space, flips, scores, spectral)
