"""Costs beside latency and size that a search asks for: computed once, kept in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bitfront.search.problem.objectives import FURTHER_COSTS
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.files import damaged_file
from bitfront.search.runs.folder import RunFolder

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.latency.costs import FurtherCost
    from bitfront.evaluators.latency.summed_cost import SummedCost

# By column; a resumed run takes them from here, whatever has become of a profile of the user's.
FURTHER = "further_costs.json"
Found = tuple["SummedCost", tuple[str, ...]]


def asked_costs(spec: RunSpec) -> tuple[str, ...]:
    """Names of the further costs that are objectives or limited."""
    limited = {limit.column for limit in spec.limits}
    return tuple(
        name for name, cost in FURTHER_COSTS.items() if name in spec.objectives or cost.column in limited
    )


def settled_costs(spec: RunSpec) -> dict[str, str]:
    """Fields of the spec that say by what further costs are computed, as they stand for the whole run.

    Raises:
        UserError: A profile is none, or does not say what is asked for.
    """
    from bitfront.evaluators.latency.energy import energy_profile
    from bitfront.evaluators.latency.registry import MODEL

    if "energy" not in asked_costs(spec):
        return {}
    energy_profile(spec.energy, spec.latency)
    return {"energy": spec.energy or f"{MODEL}:{spec.latency.partition(':')[2]}"}


def further_costs(
    spec: RunSpec, folder: RunFolder, context: EvaluationContext, batch: int
) -> tuple[Mapping[str, FurtherCost], tuple[str, ...]]:
    """The further costs of a run by column, and what must be known of them, one line each.

    Args:
        spec: The run's settings, with those of :func:`settled_costs`.
        folder: Its folder; receives ``further_costs.json``, and is read where it has that already.
        context: The prepared model.
        batch: Images of the batch that latencies are for.

    Raises:
        UserError: A profile cannot be used, or what was kept is damaged.
    """
    asked = asked_costs(spec)
    if not asked:
        return {}, ()
    kept = _kept(folder)
    found: dict[str, FurtherCost] = {}
    notes: list[str] = []
    for name in asked:
        column = FURTHER_COSTS[name].column
        if column in kept:
            found[column] = kept[column]
            continue
        cost, own = _MADE[name](spec, context, batch)
        found[column], kept[column] = cost, cost
        notes += own
    folder.write_json(FURTHER, {column: cost.to_json() for column, cost in kept.items()})
    return found, tuple(notes)


def _kept(folder: RunFolder) -> dict[str, SummedCost]:
    from bitfront.evaluators.latency.summed_cost import SummedCost

    path = folder.path / FURTHER
    if not path.exists():
        return {}
    try:
        return {
            str(column): SummedCost.from_json(entry) for column, entry in folder.read_json(FURTHER).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error


def _energy(spec: RunSpec, context: EvaluationContext, batch: int) -> Found:
    from bitfront.evaluators.context.preparing import prepared_choices
    from bitfront.evaluators.latency.energy import energy_cost, energy_notes, energy_profile

    profile, prepared = energy_profile(spec.energy, spec.latency), context.prepared
    choices = prepared_choices(context.spec)
    return energy_cost(profile, prepared.blueprint, choices, prepared.scheme, batch), energy_notes(profile)


# How each is made.
_MADE: dict[str, Callable[[RunSpec, EvaluationContext, int], Found]] = {"energy": _energy}
