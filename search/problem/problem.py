"""The search problem: space, objectives, constraints and the costs that need no evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bitfront.evaluators.tasks.quality import EXPECTED_DIFFERENCE
from bitfront.evaluators.tasks.registry import CLASSIFICATION, task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.hypervolume import HypervolumeBox
from bitfront.search.problem.limits import FASTER, SMALLER, Limit, check_achievable, paper_limits
from bitfront.search.problem.objectives import USUAL_COLUMNS, Objective, parse_objectives
from bitfront.search.problem.references import References
from bitfront.search.problem.spec import CONFIDENCE, RunSpec
from bitfront.search.problem.trial import EvaluationFailure, Trial, TrialState
from bitfront.spaces import BitConfig, SearchSpace, StructuralConstraint, UserError

if TYPE_CHECKING:
    from bitfront.evaluators.latency.costs import FurtherCost
    from bitfront.evaluators.tasks.quality import Quality


class CostModel(Protocol):
    """Costs of a configuration that are known without running it."""

    @property
    def latency_source(self) -> str:
        """Where latencies come from, for ``latency_source`` columns."""

    @property
    def latency_noise(self) -> float:
        """Standard error of latencies as a share of them, such as 0.01; 0 where they are exact."""

    def latency_ms(self, config: BitConfig) -> float:
        """Latency of a batch, in milliseconds."""

    def size_bytes(self, config: BitConfig) -> int:
        """Size of the packed file, in bytes."""

    def minimum_latency_ms(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> float:
        """The least latency of the configurations of the space that satisfy the rules."""

    def minimum_size_bytes(self, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()) -> int:
        """The least size of the configurations of the space that satisfy the rules."""

    def maximum_size_bytes(self, space: SearchSpace) -> int:
        """The greatest size that any configuration of the space has."""

    @property
    def further(self) -> Mapping[str, FurtherCost]:
        """Other costs that are asked for, by column."""


def priced_columns(cost: CostModel) -> tuple[str, ...]:
    """Columns of the costs that every candidate has."""
    return (*USUAL_COLUMNS, *cost.further)


def cost_of(cost: CostModel, column: str, config: BitConfig) -> float:
    """A cost of a configuration by its column, in that one's unit."""
    usual = {"latency_ms": cost.latency_ms, "size_bytes": cost.size_bytes}
    return usual[column](config) if column in usual else cost.further[column].of(config)


def least_of(
    cost: CostModel, column: str, space: SearchSpace, rules: Sequence[StructuralConstraint] = ()
) -> float:
    """The least of a cost of the configurations of a space that satisfy the rules."""
    usual = {"latency_ms": cost.minimum_latency_ms, "size_bytes": cost.minimum_size_bytes}
    return float(usual[column](space, rules) if column in usual else cost.further[column].least(space, rules))


@dataclass(frozen=True)
class Candidate:
    """A candidate with all that is known before its evaluation.

    Attributes:
        genome: Index into the choices of every gene.
        config: The configuration it stands for.
        digest: The configuration's digest.
        values: ``latency_ms``, ``size_bytes`` and further costs that are asked for.
        violations: Violations of the constraints that need no evaluation.
    """

    genome: tuple[int, ...]
    config: BitConfig
    digest: str
    values: Mapping[str, float]
    violations: Mapping[str, float]

    @property
    def admissible(self) -> bool:
        """Whether it satisfies every constraint that needs no evaluation."""
        return self.total_violation == 0.0

    @property
    def total_violation(self) -> float:
        """Sum of the violated constraints' violations."""
        return sum(max(0.0, value) for value in self.violations.values())


@dataclass(frozen=True)
class SearchProblem:
    """What is searched, for what, and under which constraints.

    Attributes:
        space: The assignments.
        objectives: The axes of the front.
        structural: Constraints on configurations alone.
        limits: Bounds on what is measured.
        cost: Latency and size of a configuration.
        box: The box of the hypervolume.
        task: Whose metrics judge candidates.
        metrics: Further ones that are measured at every evaluation.
        float_counted: Images of the search split that the float model decides right, in percent; None where
            that is not known.
        float_right: Which ones, packed (see ``evaluators/tasks/quality.py``); empty where that is not known.
        images: Images of the search split; None where it is not known.
        test_images: Images of the test split, on which limits are to hold; None where there is none.
        confidence: Probability with which limits on metrics are to hold; from 0.5 to below 1.
        stage_drop: Points that a stage of sampler ``progressive`` may cost; None for what limits allow.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    structural: tuple[StructuralConstraint, ...]
    limits: tuple[Limit, ...]
    cost: CostModel
    box: HypervolumeBox
    task: Task = dataclasses.field(default_factory=lambda: task_named(CLASSIFICATION))
    metrics: tuple[str, ...] = ()
    float_counted: float | None = None
    float_right: str = ""
    images: int | None = None
    test_images: int | None = None
    confidence: float = CONFIDENCE
    stage_drop: float | None = None

    @classmethod
    def from_spec(
        cls, spec: RunSpec, space: SearchSpace, cost: CostModel, references: References
    ) -> SearchProblem:
        """The problem that a spec states.

        Raises:
            UserError: An objective or limit is not understood, a limit is out of reach, or a metric is not
                defined on the search images.
        """
        structural = spec.structural
        minima = {column: least_of(cost, column, space, structural) for column in priced_columns(cost)}
        task = task_named(spec.evaluation.task)
        objectives = parse_objectives(spec.objectives, task.name)
        base, largest = references.float_model, float(references.eight_bit.size_bytes)
        if spec.allow_larger or minima["size_bytes"] > largest:
            largest = float(cost.maximum_size_bytes(space))
        lifted = {FASTER: spec.allow_slower, SMALLER: spec.allow_larger}
        papers = (limit for limit in paper_limits(references, largest) if not lifted[limit.name])
        limits = (*papers, *(asked.against(base) for asked in spec.limits))
        check_achievable(limits, minima)
        for name in dict.fromkeys((*(o.column for o in objectives), *(limit.column for limit in limits))):
            if math.isnan(base.values.get(name, 0.0)):
                raise UserError(
                    f"{task.metric(name).title} is not defined on the {base.images} search images, which "
                    "lack what it counts: give more --search-images, or trade off another metric"
                )
        box = HypervolumeBox.fixed(objectives, references, minima, largest)
        metrics, counted = spec.evaluation.metrics, base.values.get(task.counted)
        return cls(
            space,
            objectives,
            structural,
            limits,
            cost,
            box,
            task,
            metrics,
            counted,
            base.right,
            base.images,
            base.test_images,
            spec.confidence,
            spec.stage_drop,
        )

    @cached_property
    def priced(self) -> tuple[str, ...]:
        """Columns of the costs that every candidate has: latency, size and what else is asked for."""
        return priced_columns(self.cost)

    @cached_property
    def constraint_names(self) -> tuple[str, ...]:
        """Names of all constraints: structural ones first."""
        return (*(rule.name for rule in self.structural), *(limit.name for limit in self.limits))

    def prepare(self, genome: Sequence[int]) -> Candidate:
        """Decodes a genome, prices it and checks the constraints that need no evaluation."""
        config = self.space.decode(np.asarray(genome, dtype=np.int64))
        values = {column: cost_of(self.cost, column, config) for column in self.priced}
        violations = {rule.name: rule.violation(config) for rule in self.structural}
        violations |= {limit.name: limit.violation(values) for limit in self.limits if limit.analytic}
        return Candidate(tuple(int(i) for i in genome), config, config.digest, values, violations)

    def judge(self, candidate: Candidate, quality: Quality) -> tuple[dict[str, float], dict[str, float]]:
        """All values and all violations of an evaluated candidate, in the constraints' order."""
        measured = {name: float(value) for name, value in quality.figures().items()}
        values = {**candidate.values, **measured}
        if quality.expected_difference is not None:
            values[EXPECTED_DIFFERENCE] = quality.expected_difference
        found = {limit.name: limit.violation(values) for limit in self.limits if not limit.analytic}
        merged = {**candidate.violations, **found}
        return values, {name: merged[name] for name in self.constraint_names}

    def trial(
        self, number: int, candidate: Candidate, outcome: Quality | EvaluationFailure, elapsed_s: float
    ) -> Trial:
        """The finished trial of an evaluated candidate; an objective that is not a number is a failure."""
        digest, genome = candidate.digest, candidate.genome
        if not isinstance(outcome, EvaluationFailure):
            values, violations = self.judge(candidate, outcome)
            missing = [o.name for o in self.objectives if math.isnan(o.minimised(values))]
            if not missing:
                partial = self.images is not None and outcome.images < self.images
                state: TrialState = "screened" if partial else "complete"
                found = (values, violations, None, elapsed_s, outcome.right, outcome.known)
                return Trial(number, digest, genome, state, *found)
            outcome = EvaluationFailure(f"{', '.join(missing)} came out as not a number")
        known = (candidate.values, candidate.violations, outcome.message, elapsed_s)
        return Trial(number, digest, genome, "failed", *known)
