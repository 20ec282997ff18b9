"""Timings of a probe folder as its runner writes them: read strictly, for they come from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.files import parsed_json
from bitfront.evaluators.latency.probes.plan import (
    ANCHOR,
    ENCODER,
    FLOAT_MODEL,
    REST,
    Key,
    Probe,
    read_triple,
)
from bitfront.evaluators.latency.probes.probe import FORMAT, VERSION
from bitfront.spaces import SCHEMES, Triple, UserError
from bitfront.spaces.errors import one_line

LARGEST_BYTES = 50_000_000
_MOST_ROUNDS, _MOST_WORDS, _MOST_ROW = 100_000, 200, 1000


@dataclass(frozen=True)
class ProbedModel:
    """What was timed, as the folder's manifest has it.

    Attributes:
        model: Its name.
        scheme: The quantization scheme.
        encoders: Shape of every encoder.
        row: Equal encoders in a timed row.
        heaviest: The shape that was timed at every precision.
        widest: A precision that every shape was timed at, as at ``narrowest``.
        narrowest: See there.
        entries: Of every encoder of the table the probe that has its time; None where it is fitted.
        probes: By runtime.
    """

    model: str
    scheme: str
    encoders: tuple[str, ...]
    row: int
    heaviest: str
    widest: Triple
    narrowest: Triple
    entries: Mapping[Key, str | None]
    probes: Mapping[str, tuple[Probe, ...]]


@dataclass(frozen=True)
class TimedSet:
    """Times of one runtime, number of threads and batch.

    Attributes:
        runtime: Such as ``onnxruntime``.
        version: Of it; empty where it is not known.
        threads: Of an inference.
        batch: Images of a batch.
        means: By probe, milliseconds of a run in each round.
        stopped: Share of runs in which another program was given the processor.
    """

    runtime: str
    version: str
    threads: int
    batch: int
    means: Mapping[str, tuple[float, ...]]
    stopped: float


@dataclass(frozen=True)
class Timings:
    """A file of timings.

    Attributes:
        machine: What ran it, in words.
        probed: What was timed.
        sets: The times.
    """

    machine: str
    probed: ProbedModel
    sets: tuple[TimedSet, ...]


def read_timings(path: Path) -> Timings:
    """Reads a file that the runner of a probe folder wrote.

    Raises:
        UserError: It cannot be read, or anything of it is not as the runner writes it.
    """
    again = "take it again from where probe.py wrote it"
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(f"timings {path} have more than {LARGEST_BYTES // 10**6} MB: {again}")
        document = parsed_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"timings {path} cannot be read ({one_line(error)}): {again}") from error
    try:
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise ValueError(f"it is {document['format']!r} of version {document['version']!r}")
        probed = _probed(document["probe"])
        sets = tuple(_set(run, probed) for run in document["runs"])
        loads = [(one.runtime, one.threads, one.batch) for one in sets]
        if len(set(loads)) != len(loads) or not sets:
            raise ValueError("it has times of the same thing twice" if sets else "it has no times")
        return Timings(_words(document["machine"]), probed, sets)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else one_line(error)
        raise UserError(
            f"timings {path} are damaged, or none of a probe folder ({reason}): {again}"
        ) from error


def _probed(document: Mapping[str, Any]) -> ProbedModel:
    scheme, row = _words(document["scheme"]), _count(document["row"], _MOST_ROW)
    if scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} is unknown")
    encoders = tuple(map(_words, document["encoders"]))
    entries = {
        (_words(shape), read_triple(bits)): _words(name) or None for shape, bits, name in document["entries"]
    }
    probes = {
        _words(runtime): tuple(map(Probe.from_json, found["probes"]))
        for runtime, found in document["runtimes"].items()
    }
    widest, narrowest = read_triple(document["widest"]), read_triple(document["narrowest"])
    found = ProbedModel(
        _words(document["model"]),
        scheme,
        encoders,
        row,
        _words(document["heaviest"]),
        widest,
        narrowest,
        entries,
        probes,
    )
    _check(found)
    return found


def _check(found: ProbedModel) -> None:
    """Whether all that a table is made of is there."""
    for runtime, probes in found.probes.items():
        for probe in probes:
            _words(probe.name), _words(probe.digest)
        if len({probe.name for probe in probes}) != len(probes):
            raise ValueError(f"{runtime} has two probes of one name")
        names = {probe.name for probe in probes if probe.part == ENCODER}
        parts = [probe.part for probe in probes]
        lacking = [part for part in (REST, FLOAT_MODEL, ENCODER, ANCHOR) if part not in parts]
        if lacking:
            raise ValueError(f"{runtime} has no probe of {lacking[0]}")
        if missing := [name for name in found.entries.values() if name is not None and name not in names]:
            raise ValueError(f"{runtime} has no encoder {missing[0]!r}")
        if any(len(probe.models) != len(found.encoders) for probe in probes if probe.models):
            raise ValueError(f"{runtime} has a model of another number of encoders")
        for probe in probes:
            for key in zip(found.encoders, probe.models, strict=False):
                if key not in found.entries:
                    raise ValueError(f"{probe.name} has an encoder that no entry is of")
    precisions = dict.fromkeys(bits for _, bits in found.entries)
    for shape in dict.fromkeys((found.heaviest, *found.encoders)):
        for bits in precisions:
            ends = shape == found.heaviest or bits in (found.widest, found.narrowest)
            if (shape, bits) not in found.entries or (ends and found.entries[shape, bits] is None):
                raise ValueError(f"the time of {shape} at {bits} is missing")
    if not {found.widest, found.narrowest} <= set(precisions):
        raise ValueError("the widest or the narrowest precision has no entries")


def _set(run: Mapping[str, Any], probed: ProbedModel) -> TimedSet:
    runtime = _words(run["runtime"])
    if runtime not in probed.probes:
        raise ValueError(f"runtime {runtime!r} has no probes")
    names = [probe.name for probe in probed.probes[runtime]]
    means = {name: tuple(map(_milliseconds, run["mean"][name])) for name in names}
    rounds = {len(values) for values in means.values()}
    if len(rounds) != 1 or not 1 <= max(rounds) <= _MOST_ROUNDS:
        raise ValueError(f"probes of {runtime} have different numbers of rounds")
    stopped = run["stopped"]
    if isinstance(stopped, bool) or not isinstance(stopped, int | float) or not 0.0 <= stopped <= 1.0:
        raise ValueError(f"stopped {stopped!r} is no share")
    threads, batch = _count(run["threads"]), _count(run["batch"])
    return TimedSet(runtime, _words(run["runtime_version"]), threads, batch, means, float(stopped))


def _words(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MOST_WORDS or not (value.isprintable() or not value):
        raise ValueError(f"{str(value)[:40]!r} is no text of a line")
    return value


def _count(value: Any, most: int = 1_000_000) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{str(value)[:40]!r} is no number from 1 to {most}")
    return value


def _milliseconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        raise ValueError(f"{str(value)[:40]!r} is no time in milliseconds")
    return float(value)
