"""Latency measured on this machine, now, in any runtime: tables of a model's parts, and whole models.

A model may be prepared for timing alone: its times depend on shapes and precisions, not on values.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Hashable, Sequence

import torch

from bitfront.evaluators.context.machine import device_named
from bitfront.evaluators.context.preparing import compute_in_float32, prepared_choices
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency.table import (
    Latency,
    LatencyTable,
    TableLatency,
    encoder_shape,
    timed_encoders,
)
from bitfront.evaluators.latency.timed_runtime import (
    Subject,
    TimedRun,
    TimedRuntime,
    TimingProtocol,
    time_interleaved,
)
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.loading import LoadedModel, load_model
from bitfront.evaluators.preparation.calibrated_model import calibrate_model
from bitfront.evaluators.preparation.layer_fit import FITTING
from bitfront.evaluators.preparation.recipes import TOKEN_WEIGHTS
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import BitConfig, EncoderBits, Triple, triples

# Models of equal programs that are timed: where a runtime happens to put one in memory, it is up to a third
# slower than another.
_TIMED_ALIKE = 3
_FLOAT = "float model"
_REST = "rest"
# Of uniform noise, in place of calibration images.
IMAGES = 8


def measure_table(
    runtime: TimedRuntime,
    subject: Subject,
    batch: int,
    protocol: TimingProtocol | None = None,
    progress: ShareDone = unreported,
) -> LatencyTable:
    """Times every distinct encoder shape at every precision, the rest and the float model, interleaved.

    Args:
        runtime: What runs them.
        subject: The model.
        batch: Images of a batch.
        protocol: How often each is run.
        progress: Called with the share that is done.
    """
    return measure_with_models(runtime, subject, (), batch, protocol, progress)[0]


def measure_with_models(
    runtime: TimedRuntime,
    subject: Subject,
    configs: Sequence[BitConfig],
    batch: int,
    protocol: TimingProtocol | None = None,
    progress: ShareDone = unreported,
) -> tuple[LatencyTable, list[Latency]]:
    """Times the parts of a table and whole models in one go, so that both meet the same noise.

    A part that runs over and over finds its data in the caches; within a model it does not. So the whole
    model at its greatest width is timed, too, and what it takes longer than its parts is added to the rest.

    Returns:
        The table, and the configurations' times in order.
    """
    prepared = subject.prepared
    runs: dict[Hashable, TimedRun] = {
        _FLOAT: runtime.float_model(subject, batch),
        _REST: runtime.rest(subject, batch),
    }
    keys: dict[tuple[str, Triple], Hashable] = {}
    for index, encoder in enumerate(prepared.blueprint.encoders):
        shape = encoder_shape(encoder)
        for triple in triples(prepared.choices):
            program = shape, runtime.program(triple)
            keys.setdefault((shape, triple), program)
            if program not in runs:
                runs[program] = runtime.encoder(subject, index, triple, batch)
    for config in dict.fromkeys([subject.widest, *configs]):
        runs[config] = runtime.model(subject, config, batch)
    times = time_interleaved(runs, protocol, progress)
    table = LatencyTable(
        {
            key: Latency(times[program].milliseconds / runtime.row, times[program].spread_percent)
            for key, program in keys.items()
        },
        times[_REST],
        times[_FLOAT],
        batch,
        runtime.source,
        prepared.scheme,
        runtime.machine(subject),
        runtime.threads,
    )
    return _filled_up(table, subject, times[subject.widest]), [times[config] for config in configs]


def _filled_up(table: LatencyTable, subject: Subject, whole: Latency) -> LatencyTable:
    """The table whose sum for the greatest width is no less than the whole model's time."""
    latency = TableLatency(
        table, timed_encoders(subject.prepared.blueprint), triples(subject.widest.formats())
    )
    missing = max(0.0, whole.milliseconds - latency.latency_ms(subject.widest))
    rest = dataclasses.replace(table.rest, milliseconds=table.rest.milliseconds + missing)
    return dataclasses.replace(table, rest=rest)


def measure_models(
    runtime: TimedRuntime,
    subject: Subject,
    configs: Sequence[BitConfig],
    batch: int,
    protocol: TimingProtocol | None = None,
    progress: ShareDone = unreported,
) -> tuple[Latency, list[Latency]]:
    """Times whole models, interleaved: each configuration in pairs with the float model.

    A time is that of the float model by how much longer the configuration took at the same moments, so that
    models that were timed at other moments can be compared.

    Models that run the same program share a time, as the encoders of a table do: the median of some of them.
    Where a runtime cannot hold all of them at once they take turns in groups, each with the float model.

    Returns:
        The float model's time (the median of the groups'), and the configurations' in order.
    """
    programs = [_program(runtime, config) for config in configs]
    alike: dict[Hashable, list[BitConfig]] = {}
    for program, config in zip(programs, configs, strict=True):
        if len(known := alike.setdefault(program, [])) < _TIMED_ALIKE:
            known.append(config)
    timed = [config for some in alike.values() for config in some]
    size = runtime.models_at_once or max(1, len(timed))
    groups = [timed[start : start + size] for start in range(0, len(timed), size)] or [[]]
    protocol = protocol or TimingProtocol()
    protocol = dataclasses.replace(protocol, budget_seconds=protocol.budget_seconds / len(groups))
    floats: list[Latency] = []
    entries: list[Latency] = []

    def of_group(share: float) -> None:
        progress((len(floats) + share) / len(groups))

    for group in groups:
        runs: dict[Hashable, TimedRun] = {_FLOAT: runtime.float_model(subject, batch)}
        for place, config in enumerate(group):
            runs[place] = runtime.model(subject, config, batch)
        times = time_interleaved(runs, protocol, of_group, _FLOAT)
        del runs  # the next group needs their memory
        floats.append(times.pop(_FLOAT))
        # As shares of the float model's time beside them.
        entries += (_scaled(entry, 1.0 / floats[-1].milliseconds) for entry in times.values())
    whole = _together(floats)
    left = (_scaled(entry, whole.milliseconds) for entry in entries)
    times_of = {program: _together([next(left) for _ in some]) for program, some in alike.items()}
    return whole, [times_of[program] for program in programs]


def _scaled(entry: Latency, factor: float) -> Latency:
    return dataclasses.replace(entry, milliseconds=factor * entry.milliseconds)


def _program(runtime: TimedRuntime, config: BitConfig) -> Hashable:
    """What distinguishes the instructions of whole models."""

    def of_encoder(encoder: EncoderBits) -> Hashable:
        layers = sorted(encoder.named_layers() or {""})
        widths = [(encoder.bits("weights", name), encoder.bits("activations", name)) for name in layers]
        programs = [runtime.program((*pair, encoder.attention)) for pair in widths]
        # widths that are given by layer may all run the same
        return programs[0] if len(set(programs)) == 1 else tuple(zip(layers, programs, strict=True))

    return tuple(map(of_encoder, config.encoders))


def _together(entries: Sequence[Latency]) -> Latency:
    """The median of times, and the widest range of any."""
    milliseconds = statistics.median(entry.milliseconds for entry in entries)
    return Latency(milliseconds, max(entry.spread_percent for entry in entries))


def load_shapes(spec: EvaluationSpec) -> tuple[LoadedModel, Blueprint]:
    """The float model of a spec; with random weights where the spec names none.

    Raises:
        UserError: The model or its weights cannot be used.
    """
    spec.check()
    model = load_model(
        spec.model,
        checkpoint=spec.checkpoint,
        pretrained=spec.pretrained,
        untrained=True,
        options=spec.image_options,
    )
    return model, blueprint_of(spec.model, model.module.to(device_named(spec.device)))


def stand_in(spec: EvaluationSpec, keep_codes: bool, progress: ShareDone) -> Subject:
    """Prepares a model on noise, with everything of the recipe that changes what runs.

    How weights are rounded changes none of it, and takes most of a preparation's time: it is left out.

    Args:
        spec: The model and how it is quantized; its data and splits are not looked at.
        keep_codes: Whether the prepared model keeps its codes.
        progress: Is told the share that is done.

    Raises:
        UserError: The model or its weights cannot be used.
        BitfrontError: The float model overflows on noise.
    """
    recipe = spec.whole_recipe
    observer = observer_named(spec.observer or recipe.observer)
    recipe = recipe.without(FITTING | {TOKEN_WEIGHTS})
    compute_in_float32()
    torch.set_num_threads(1)
    model, blueprint = load_shapes(spec)
    drawn = torch.randn(IMAGES, *blueprint.image_shape, generator=torch.Generator().manual_seed(0))
    images = drawn.to(blueprint.patch.weight.device)
    choices = prepared_choices(spec)
    found = calibrate_model(blueprint, lambda: [images], choices, recipe, observer, spec.scheme, progress)
    prepared = PreparedModel(
        found.blueprint,
        found.calibration,
        spec.scheme,
        choices,
        "minmax",
        log_steps=found.log_steps,
        keep_codes=keep_codes,
    )
    return Subject(prepared, model.module)
