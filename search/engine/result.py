"""The result of a search: why it ended, its trials and front, and what to say where nothing is feasible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bitfront.search.engine.protocols import Progress
from bitfront.search.problem.hypervolume import hypervolume_history
from bitfront.search.problem.limits import Limit
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial, failures_by_reason

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        reason: Why it ended, such as ``the evaluations are spent`` or ``interrupted``.
        trials: All trials by number.
        front: The feasible, non-dominated ones by size.
        problem: What was searched.
        progress: Where the search stood at its end.
    """

    reason: str
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    problem: SearchProblem
    progress: Progress

    @property
    def message(self) -> str | None:
        """Which limits were missed, and what came nearest to them; None where there is a front."""
        return None if self.front else nothing_feasible(self.trials, self.problem.limits)

    def to_json(self) -> dict[str, Any]:
        """What ``summary.json`` holds: counts, limits, hypervolume with its box and history, the reason."""
        progress, box, states = self.progress, self.problem.box, [trial.state for trial in self.trials]
        history = hypervolume_history(self.trials, self.problem.objectives, box)
        return {
            "stopped_because": self.reason,
            "message": self.message or "",
            "evaluations": progress.evaluations,
            "known_evaluations": sum(trial.known for trial in self.trials),
            "trials": len(states),
            "failed": states.count("failed"),
            "failures": failures_by_reason(
                (trial.number, trial.error or "") for trial in self.trials if trial.state == "failed"
            ),
            "rejected": states.count("rejected"),
            "feasible": sum(trial.feasible for trial in self.trials),
            "front_points": len(self.front),
            "seconds": round(progress.elapsed_s, 3),
            "hypervolume": progress.hypervolume,
            "reference_point": box.in_units(box.reference, self.problem.objectives),
            "ideal_point": box.in_units(box.ideal, self.problem.objectives),
            "hypervolume_history": history,
            "constraints": list(self.problem.constraint_names),
            "limits": [limit.to_json() for limit in self.problem.limits],
            "latency_source": self.problem.cost.latency_source,
        }


def nothing_feasible(trials: Sequence[Trial], limits: Sequence[Limit]) -> str:
    """One line that names, for every limit that was missed, the nearest value that was achieved."""
    if not trials:
        return "no configuration was tried"
    missed = [text for limit in limits if (text := _missed(limit, trials))]
    if missed:
        return "no configuration met the limits: " + "; ".join(missed)
    evaluated = [trial for trial in trials if trial.state == "complete"]
    if not evaluated:
        return "no configuration was evaluated: all were rejected or failed; loosen the limits or see log.txt"
    nearest = min(evaluated, key=lambda trial: (trial.total_violation, trial.number))
    broken = [limit for limit in limits if nearest.violations.get(limit.name, 0.0) > 0.0]
    values = ", ".join(f"{limit.name} {limit.told(nearest.values)}" for limit in broken)
    return (
        f"each limit was met by some configuration but none met all; the nearest is trial {nearest.number}, "
        f"which misses {values or 'a structural constraint'}: loosen that limit, or give more --evaluations"
    )


def _missed(limit: Limit, trials: Sequence[Trial]) -> str:
    """What came nearest to a limit that no trial met; empty where one did, or none was measured."""
    measured = [trial for trial in trials if limit.column in trial.values]
    if not measured or any(limit.violation(trial.values) <= 0.0 for trial in measured):
        return ""
    nearest = min(measured, key=lambda trial: limit.violation(trial.values))
    asked = f"{limit.side} {limit.describe(limit.threshold)}"
    return f"{limit.origin} asks for {asked}, the nearest was {limit.told(nearest.values)}"
