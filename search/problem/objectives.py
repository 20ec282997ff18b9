"""Objectives: what a search makes larger or smaller, and in which unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bitfront.evaluators.tasks.metric import Direction, Metric
from bitfront.evaluators.tasks.registry import CLASSIFICATION, task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.spaces import UserError

# A cost that differs by a smaller share is the same to whoever chooses.
NEGLIGIBLE = 0.001
# Behind the column of a metric: what it is estimated to be on other images, and the standard error of that.
ESTIMATE, ESTIMATE_ERROR = "_estimate", "_estimate_error"


@dataclass(frozen=True)
class Objective:
    """One axis of the front.

    Attributes:
        name: Name on the command line, such as ``latency``.
        column: Name of the measured value, such as ``latency_ms``.
        direction: Which values are better.
        unit: Unit of the value, for people.
        least: Values nearer to the best one than this count as equal where ratios are compared.
        span: Best and worst value of any model with so many classes; None for costs, which have no worst.
        decimals: Of the value in tables; None for six significant digits.
        title: For people, such as ``macro-F1``.
    """

    name: str
    column: str
    direction: Direction
    unit: str
    least: float
    span: Callable[[int], tuple[float, float]] | None = None
    decimals: int | None = None
    title: str = ""

    @property
    def analytic(self) -> bool:
        """Whether the value is known without evaluating the candidate."""
        return self.column in ANALYTIC

    def deciding(self, values: Mapping[str, float]) -> float:
        """The estimate where there is one, else what was measured; NaN where both are missing."""
        measured = values.get(self.column, float("nan"))
        return float(values.get(f"{self.column}{ESTIMATE}", measured))

    def minimised(self, values: Mapping[str, float]) -> float:
        """What decides in minimisation form: negated where larger is better; NaN where it is missing."""
        value = self.deciding(values)
        return -value if self.direction == "maximise" else value


def _named(*objectives: Objective) -> dict[str, Objective]:
    return {objective.name: objective for objective in objectives}


# What every configuration has, and what is known of it where it is asked for; neither depends on a task.
USUAL_COSTS = _named(
    Objective("latency", "latency_ms", "minimise", "ms", 1e-9, title="latency"),
    Objective("size", "size_bytes", "minimise", "bytes", 1.0, None, 0, title="size"),
)
FURTHER_COSTS = _named(Objective("energy", "energy_mj", "minimise", "mJ", 1e-9, title="energy"))
COSTS = {**USUAL_COSTS, **FURTHER_COSTS}
# Their columns: what a configuration's costs tell without evaluating it.
ANALYTIC = tuple(cost.column for cost in COSTS.values())
USUAL_COLUMNS = tuple(cost.column for cost in USUAL_COSTS.values())


def cost_of_column(column: str) -> Objective:
    """The cost that a column has; StopIteration for those of metrics."""
    return next(cost for cost in COSTS.values() if cost.column == column)


def objective_of(metric: Metric) -> Objective:
    """A metric as an objective; its column has its name."""

    def span(classes: int) -> tuple[float, float]:
        return metric.ideal, metric.worst(classes)

    return Objective(
        metric.name,
        metric.name,
        metric.direction,
        metric.unit,
        metric.least,
        span,
        metric.decimals,
        metric.title,
    )


def objective_named(name: str, task: Task) -> Objective:
    """The cost or the metric of that name.

    Raises:
        UserError: There is none.
    """
    return COSTS[name] if name in COSTS else objective_of(task.metric(name))


def objective_names(task: Task) -> tuple[str, ...]:
    """What may be asked for: the costs and every metric of a task, as they are written."""
    return (task.primary, *COSTS, *(metric.usage for metric in task.metrics if metric.name != task.primary))


def default_objectives(task: Task) -> tuple[str, ...]:
    """What is traded off unless something else is asked for."""
    return (task.primary, *USUAL_COSTS)


def parse_objectives(names: str | Sequence[str], task: str = CLASSIFICATION) -> tuple[Objective, ...]:
    """The objectives of a list of names, or of a text such as ``top1,size``.

    Raises:
        UserError: A name is unknown or repeated, or there is none.
    """
    judged = task_named(task)
    parts = [part.strip() for part in (names.split(",") if isinstance(names, str) else names)]
    known = ", ".join(objective_names(judged))
    found = []
    for part in parts:
        try:
            found.append(objective_named(part, judged))
        except UserError as error:
            raise UserError(
                f"unknown objective {part!r}: choose among {known}, with commas between"
            ) from error
    if not parts or len(set(parts)) != len(parts):
        raise UserError(f"--objectives {','.join(parts)!r}: give each objective once, among {known}")
    return tuple(found)
