"""Refining one configuration: learning, comparing on the splits, and keeping what helped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.context import EvaluationContext, SplitName
from bitfront.evaluators.context.preparing import weight_ranges
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import explained
from bitfront.evaluators.preparation.calibrated_model_file import calibrated_digest
from bitfront.evaluators.preparation.refinement_file import load_refinement, read_refinement
from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.paired import Paired, paired_differences
from bitfront.evaluators.tasks.quality import standard_errors
from bitfront.evaluators.training.refinement.refinement import refine
from bitfront.search.estimation.differences import ONE_SIDED
from bitfront.search.problem.spec import bitfront_version
from bitfront.search.runs.refined import SEARCH, Compared, RefinedPoint, write_refined
from bitfront.search.session.inputs import preparing
from bitfront.search.session.refine_images import learning_images, told
from bitfront.search.session.refine_request import LEARNED, RefinePlace, RefineRequest
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.search.session.reporter import Reporter


@dataclass(frozen=True)
class Outcome:
    """What became of a refinement.

    Attributes:
        spec: What was refined, with all that was left to choose.
        images: What it was learned from, in words.
        figures: What the learning says of itself.
        point: What it brought on the splits; None where it did not help on the images that judged it, and
            was compared no further.
        why: Why it was not kept, in a sentence; empty where it was.
    """

    spec: EvaluationSpec
    images: str
    figures: Mapping[str, Any]
    point: RefinedPoint | None
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
        if not learned.exists() and (not_better := self._learn(found.images, learned)):
            figures, why = not_better
            place.clear()
            return Outcome(context.spec, found.words, figures, None, why)
        splits = self._compared(learned)
        document, why = read_refinement(learned), self._why_not(splits[SEARCH])
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
        return Outcome(context.spec, found.words, document.figures, point, why)

    def _learn(self, images: Any, file: Path) -> tuple[dict[str, Any], str] | None:
        """Writes what was learned; where that did not help, gives its figures and says so instead."""
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
        if not refined.helped:
            return refined.figures(), refined.summary()
        refined.save(file, blueprint, request.learning)
        return None

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
        _, blueprint = self._context.calibrated_again()
        refined = load_refinement(learned, blueprint, blueprint.patch.weight.device)
        return calibrated_digest(refined, blueprint)

    def _why_not(self, compared: Compared) -> str:
        """Why the search images, which were not learned from, speak against it; empty where they do not."""
        images = count_of(compared.after.images, "search image")
        distance = self._context.task.metric(self._context.task.distance)
        metric = self._context.task.metric(self._request.metric)
        if distance.sign * compared.differences[distance.name].value < 0.0:
            return f"on {images} it is farther from the float model: {_change(distance, compared)}"
        if shown_worse(metric.sign, compared.differences[metric.name]):
            return f"on {images} it is shown to be worse: {_change(metric, compared)}"
        return ""

    def _keep(self, learned: Path, point: RefinedPoint) -> None:
        """Puts the files in their place; the record comes last: where it is, the refinement is whole."""
        self._place.forget()
        with explained(self._place.file):
            learned.replace(self._place.file)
        write_refined(self._place.file, point)


def _change(metric: Metric, compared: Compared) -> str:
    """A metric's difference with its error."""
    found = compared.differences[metric.name]
    return f"{metric.title} {metric.number(found.value, '+')} ± {metric.number(found.error)}"


def shown_worse(sign: float, difference: Paired) -> bool:
    """Whether a one-sided test of 5 % shows that a metric got worse; ``sign`` says which way is better."""
    error = 0.0 if difference.error != difference.error else difference.error
    return sign * difference.value + ONE_SIDED * error < 0.0
