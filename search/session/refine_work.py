"""Refining one configuration: learning, comparing on the splits, and keeping what helped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.context import EvaluationContext, SplitName
from bitfront.evaluators.context.preparing import task_blueprint, weight_ranges
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import explained
from bitfront.evaluators.preparation.calibrated_model_file import calibrated_digest
from bitfront.evaluators.preparation.refinement_file import load_refinement, read_refinement
from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.paired import Paired, paired_differences
from bitfront.evaluators.tasks.quality import standard_errors
from bitfront.evaluators.training.refinement.refinement import CERTAIN, refine
from bitfront.search.estimation.differences import ONE_SIDED
from bitfront.search.problem.spec import bitfront_version
from bitfront.search.runs.refined import SEARCH, Compared, RefinedPoint, write_refined
from bitfront.search.session.inputs import preparing
from bitfront.search.session.refine_images import learning_images, told
from bitfront.search.session.refine_request import LEARNED, RefinePlace, RefineRequest
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.data.images import PreprocessedImages
    from bitfront.evaluators.tasks.task import Task
    from bitfront.search.session.reporter import Reporter


@dataclass(frozen=True)
class Outcome:
    """What became of a refinement.

    Attributes:
        spec: What was refined, with all that was left to choose.
        point: What it brought on the splits.
        why: Why it was not kept, in a sentence; empty where it was.
    """

    spec: EvaluationSpec
    point: RefinedPoint
    why: str


class RefineWork:
    """A refinement from its request to its files.

    Args:
        request: What is refined; kept in ``place``.
        place: Where.
        reporter: Is told how it goes.
        note: Is told of the data and the float model where these were not used before; None where they were.

    Raises:
        UserError: The model or the data cannot be used, or the configuration does not fit them.
    """

    def __init__(
        self,
        request: RefineRequest,
        place: RefinePlace,
        reporter: Reporter,
        note: Callable[[str], None] | None,
    ) -> None:
        self._request, self._place, self._reporter = request, place, reporter
        with reporter.stage(preparing(request.evaluation)) as share_done:
            self._context = EvaluationContext.from_spec(request.evaluation, share_done, note=note)
        self._context.prepared.check(request.config)

    def run(self) -> Outcome:
        """Learns, or takes what was learned before an interruption; compares it, and keeps what helped."""
        request, place, context = self._request, self._place, self._context
        found = learning_images(context, request.images, request.data, request.learning.seed)
        self._reporter.note(told(found))
        learned = place.state / LEARNED
        if not learned.exists():
            self._learn(found.images, learned)
        splits, document = self._compared(learned), read_refinement(learned)
        metric = context.task.metric(request.metric)
        why = why_not(context.task, metric, splits[SEARCH], document.figures)
        point = RefinedPoint(
            trial=request.trial,
            digest=request.config.digest,
            file=place.file.name,
            content=self._content(learned),
            images=found.words,
            splits=splits,
            learning=request.learning.to_json(),
            figures=document.figures,
            bitfront=bitfront_version(),
        )
        if not why:
            self._keep(learned, point)
        place.clear()
        return Outcome(context.spec, point, why)

    def _learn(self, images: PreprocessedImages, file: Path) -> None:
        """Writes what was learned."""
        request, context = self._request, self._context
        calibrated, blueprint = context.calibrated_again()
        with self._reporter.stage(f"refining {self._subject()}") as share_done:
            refined = refine(
                calibrated,
                blueprint,
                request.config,
                images,
                request.learning,
                weight_ranges=weight_ranges(context.spec),
                folder=self._place.state,
                progress=share_done,
            )
        refined.save(file, blueprint, request.learning)

    def _subject(self) -> str:
        trial, digest = self._request.trial, self._request.config.digest
        return f"configuration {digest}" if trial is None else f"trial {trial} ({digest})"

    def _compared(self, learned: Path) -> dict[str, Compared]:
        """What refining brought on the search and the test split."""
        context, config = self._context, self._request.config
        refined, found = context.refined_by(learned), dict[str, Compared]()
        metrics = context.task.measured(context.spec.metrics)
        splits: tuple[SplitName, ...] = ("search", "test")
        for split in splits:
            images = count_of(len(getattr(context.splits, split)), f"{split} image")
            with self._reporter.stage(f"classifying {images}, float, before and after"):
                before, old = context.quality_with_outputs(config, split)
                after, new = refined.quality_with_outputs(config, split)
            own, base = (context.task.arithmetic.outputs(outputs) for outputs in (new, old))
            errors = {name: error.difference for name, error in standard_errors(own, metrics).items()}
            found[split] = Compared(before, after, paired_differences(own, base, metrics), errors)
        return found

    def _content(self, learned: Path) -> str:
        """A digest of what was learned, whatever time that took."""
        blueprint = task_blueprint(self._context.spec, self._context.model.module)
        refined = load_refinement(learned, blueprint, blueprint.patch.weight.device)
        return calibrated_digest(refined, blueprint)

    def _keep(self, learned: Path, point: RefinedPoint) -> None:
        """Puts the files in their place; the record comes last: where it is, the refinement is whole."""
        self._place.forget()
        with explained(self._place.file):
            learned.replace(self._place.file)
        write_refined(self._place.file, point)


def why_not(task: Task, metric: Metric, compared: Compared, figures: Mapping[str, Any]) -> str:
    """Why a refinement is not kept, in a sentence; empty where it is.

    It has to be nearer to the float model by two standard errors, on the images that judged the learning or
    on the search images, none of which it learned from; and the latter must not speak against it.

    Args:
        task: What outputs are judged by.
        metric: What must not be shown to be worse.
        compared: What refining brought on the search split.
        figures: What the learning says of itself.
    """
    distance = task.metric(task.distance)
    images, change = count_of(compared.after.images, "search image"), compared.differences[distance.name]
    nearer = distance.sign * change.value
    if nearer < 0.0:
        return f"on {images} it is farther from the float model ({_change(distance, compared)})"
    if not figures["helped"] and nearer <= CERTAIN * _known(change.error):
        before, after = figures["before"]["kl"], figures["after"]["kl"]
        return (
            f"neither {figures['held_out']} images that judged it (KL {before:.4f} to {after:.4f}) nor "
            f"{images} ({_change(distance, compared)}) show it to be nearer to the float model by two "
            "standard errors"
        )
    if shown_worse(metric.sign, compared.differences[metric.name]):
        return f"on {images} it is shown to be worse ({_change(metric, compared)})"
    return ""


def _change(metric: Metric, compared: Compared) -> str:
    """A metric's difference with its error."""
    found = compared.differences[metric.name]
    return f"{metric.title} {metric.number(found.value, '+')} ± {metric.number(found.error)}"


def shown_worse(sign: float, difference: Paired) -> bool:
    """Whether a one-sided test of 5 % shows that a metric got worse; ``sign`` says which way is better."""
    return sign * difference.value + ONE_SIDED * _known(difference.error) < 0.0


def _known(error: float) -> float:
    return 0.0 if math.isnan(error) else error
