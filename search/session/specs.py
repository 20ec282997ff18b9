"""Specs as a session needs them: completed, as a bit config has recorded them, and with a latency source."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.problem.spec import RunSpec
from bitfront.search.samplers.registry import check_sampler, default_population
from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.evaluators.latency.source import LatencySource

# Fields that say on what it runs: they belong to the machine at hand, not to a configuration.
MACHINE_FIELDS = ("device", "batch_size", "threads")


def completed_spec(spec: RunSpec) -> tuple[RunSpec, LatencySource]:
    """A run spec with what was left to choose; everything that can be checked without loading is.

    Returns:
        The spec, and its latency source, which was needed to choose the batch.

    Raises:
        UserError: The spec cannot be carried out as stated.
    """
    check_sampler(spec.sampler)
    spec.evaluation.check()
    spec.check()
    population = default_population(spec.sampler) if spec.population is None else spec.population
    source, batch = chosen_latency(spec.latency, spec.evaluation.scheme, spec.latency_batch)
    evaluation = spec.evaluation.at_absolute_places()
    spec = dataclasses.replace(spec, evaluation=evaluation, population=population, latency_batch=batch)
    return spec, source


def recorded_spec(recorded: Mapping[str, Any], changes: Mapping[str, Any]) -> EvaluationSpec:
    """The spec under which a bit config was found, without the settings of that machine.

    Args:
        recorded: The ``evaluation`` entry of the config's provenance.
        changes: Fields that take other values, those of this machine among them.

    Raises:
        UserError: The record is damaged, or of a version that knew no recipes.
    """
    if "recipe" not in recorded:
        raise UserError(
            "the bit config was found by an earlier version, which prepared models in another way: search "
            'again, or remove its "evaluation" entry and give --model, --data and --recipe'
        )
    try:
        spec = EvaluationSpec.from_json(dict(recorded))
    except (KeyError, TypeError) as error:
        raise UserError(
            f'the bit config\'s provenance is damaged ({error}): remove its "evaluation" entry and give '
            "--model and --data"
        ) from error
    written = {name: getattr(EvaluationSpec, name) for name in MACHINE_FIELDS} | dict(changes)
    if "checkpoint" in written:
        written["pretrained"] = False
    elif "pretrained" in written:
        written["checkpoint"] = None
    if "recipe" in written:
        # What was left out of, or set beside, another recipe says nothing about this one.
        written = {"without": (), "observer": None, **written}
    return dataclasses.replace(spec, **written)


def chosen_latency(name: str, scheme: str, batch: int | None = None) -> tuple[LatencySource, int]:
    """The latency source of a name and the images of a batch.

    Args:
        name: Such as ``measured:torch``, ``table:FILE`` or ``model:bops``.
        scheme: The quantization scheme.
        batch: Images of a batch as asked for; None for the table's, or 1.

    Raises:
        UserError: The source is unknown, cannot be used for the scheme, or is for another batch.
    """
    from bitfront.evaluators.latency.source import latency_source

    source = latency_source(name, scheme)
    if source.batch is None:
        return source, 1 if batch is None else batch
    if batch not in (None, source.batch):
        raise UserError(
            f"--latency-batch {batch}: {name} is for batches of {source.batch}: leave the option out, or "
            f"give a table for that batch (`bitfront latency-table --latency-batch {batch}`)"
        )
    return source, source.batch
