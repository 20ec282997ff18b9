"""Fronts of finished searches as the test images see them, which no search has used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.tasks.quality import Quality
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.archive import Point
from bitfront.search.problem.objectives import USUAL_COLUMNS
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import References
from bitfront.search.problem.trial import EvaluationFailure, Trial
from bitfront.search.session.comparison.document import Spread, marks, tight_box
from bitfront.search.session.comparison.searches import FinishedSearch
from bitfront.search.session.comparison.shared_evaluations import SharedEvaluations
from bitfront.spaces import BitConfig, BitfrontError

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext

# Beside the evaluations on the search images.
TEST_EVALUATIONS = "test_evaluations.jsonl"
Fronts = dict[int, tuple[Trial, ...]]


def fronts_at(problem: SearchProblem, trials: Iterable[Trial], evaluations: int) -> Fronts:
    """The front that a search would have ended with at each mark of a comparison, by evaluations."""
    paid = [trial for trial in trials if trial.paid]
    return {count: judging_archive(problem, paid[:count]).front for count in marks(evaluations)}


@dataclass(frozen=True)
class TestImages:
    """What the test images say of configurations.

    Attributes:
        qualities: By digest; configurations without one are left out.
        whole: What the float model is worth there.
        searched: The float model's metrics on the search images.
    """

    # No class of tests.
    __test__ = False

    qualities: Mapping[str, Quality]
    whole: Quality
    searched: Mapping[str, float]

    def points(self, problem: SearchProblem, trials: Iterable[Trial]) -> list[Point]:
        """Objectives of trials in minimisation form.

        Splits differ in how hard their images are: so metrics are the float model's on the search images and
        the difference to it on the test images, and lie in the box of the search.
        """
        found = []
        for trial in trials:
            quality = self.qualities.get(trial.digest)
            if quality is not None:
                values = {column: trial.values[column] for column in USUAL_COLUMNS}
                for column in (o.column for o in problem.objectives if not o.analytic):
                    whole = self.whole.values[column]
                    values[column] = self.searched.get(column, whole) + quality.values[column] - whole
                found.append(tuple(objective.minimised(values) for objective in problem.objectives))
        return found

    def figures(
        self, problem: SearchProblem, searches: Sequence[tuple[FinishedSearch, Fronts]]
    ) -> dict[str, Any]:
        """Hypervolumes of fronts by sampler and mark, as shares of that of all of them together.

        Args:
            problem: What was searched.
            searches: With their fronts by mark.
        """
        everything = {t.digest: t for _, fronts in searches for front in fronts.values() for t in front}
        points = self.points(problem, everything.values())
        box = tight_box(problem, points) or problem.box
        total = box.share(points) or 1.0
        rows: dict[str, list[list[float]]] = {}
        for searched, fronts in searches:
            shares = [box.share(self.points(problem, front)) / total for front in fronts.values()]
            rows.setdefault(searched.entry.sampler, []).append(shares)
        return {
            "images": self.whole.images,
            "ideal_point": box.in_units(box.ideal, problem.objectives),
            "reference_point": box.in_units(box.reference, problem.objectives),
            "samplers": {
                name: [
                    {"evaluations": count, **Spread.of(np.array(found)[:, place]).to_json()}
                    for place, count in enumerate(searches[0][1])
                ]
                for name, found in rows.items()
            },
        }


def on_test_images(
    problem: SearchProblem,
    searches: Sequence[FinishedSearch],
    evaluations: int,
    context: EvaluationContext,
    references: References,
    folder: Path,
    share_done: ShareDone,
) -> dict[str, Any]:
    """What the test images say of the fronts that searches had at each mark.

    Args:
        problem: What was searched.
        searches: Finished ones.
        evaluations: What each could spend.
        context: The prepared model and its data.
        references: The float model on the search images.
        folder: Keeps evaluations, so that a comparison that goes on does not repeat them.
        share_done: Is told the share that is done.
    """
    fronts = [(searched, fronts_at(problem, searched.trials, evaluations)) for searched in searches]
    trials = {t.digest: t for _, marked in fronts for front in marked.values() for t in front}
    configs = [problem.space.decode(np.array(trial.genome, dtype=np.int64)) for trial in trials.values()]
    known = SharedEvaluations(folder / TEST_EVALUATIONS)
    evaluate_on_test(configs, context, known, share_done)
    qualities = known.qualities(trials)
    images = TestImages(qualities, context.float_quality("test"), references.float_model.values)
    return images.figures(problem, fronts)


def evaluate_on_test(
    configs: Sequence[BitConfig], context: EvaluationContext, known: SharedEvaluations, share_done: ShareDone
) -> None:
    """Evaluates on the test images what was not evaluated there yet, and records it.

    Args:
        configs: In the order of evaluation.
        context: The prepared model and its data.
        known: What is known of the test images.
        share_done: Is told the share that is done.
    """
    for done, config in enumerate(configs, start=1):
        if known.get(config.digest) is None:
            try:
                known.add(config.digest, context.quality(config, "test"))
            except BitfrontError as error:
                known.add(config.digest, EvaluationFailure.of(error))
        share_done(done / len(configs))
