"""Which graphs are timed on another machine, and which times of a table follow from which of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitfront.evaluators.latency.table import TimedEncoder
from bitfront.spaces import KINDS, BitConfig, Triple
from bitfront.spaces.formats import named_format

# The parts of a model that a probe may be: a row of equal encoders, what is outside them, or a whole model.
ENCODER, REST, FLOAT_MODEL, ANCHOR, CHECK = "encoder", "rest", "float_model", "anchor", "check"
PARTS = (ENCODER, REST, FLOAT_MODEL, ANCHOR, CHECK)
# Up to so many different encoders all are timed; of more, shapes beside the heaviest are timed at the widest
# and the narrowest precision alone.
MOST_TIMED = 12
Key = tuple[str, Triple]


@dataclass(frozen=True)
class Probe:
    """A graph that is timed.

    Attributes:
        name: What it is called in the folder.
        part: One of :data:`PARTS`. Tables are fitted to whole models that are anchors; checks tell how well
            their sums predict others.
        key: Shape and precision of an encoder; None of the other parts.
        models: Precision of every encoder of a whole quantized model; empty of the other parts.
        digest: Of the whole model's configuration; empty of the other parts.
    """

    name: str
    part: str
    key: Key | None = None
    models: tuple[Triple, ...] = ()
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        found: dict[str, Any] = {"name": self.name, "part": self.part}
        if self.key is not None:
            found |= {"shape": self.key[0], "bits": list(self.key[1])}
        if self.models:
            found |= {"encoders": [list(triple) for triple in self.models], "digest": self.digest}
        return found

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Probe:
        """The inverse of :meth:`to_json`; KeyError, TypeError or ValueError where it is none."""
        part = str(document["part"])
        if part not in PARTS:
            raise ValueError(f"part {part!r} is unknown")
        key = (str(document["shape"]), read_triple(document["bits"])) if part == ENCODER else None
        models = tuple(map(read_triple, document["encoders"])) if part in (ANCHOR, CHECK) else ()
        return cls(str(document["name"]), part, key, models, str(document.get("digest", "")))


def read_triple(values: Any) -> Triple:
    """Formats of weights, activations and attention; ValueError where they are none."""
    if not isinstance(values, list) or len(values) != len(KINDS):
        raise ValueError(f"{values!r} are no formats of {', '.join(KINDS)}")
    w, a, t = (named_format(str(value), kind) for value, kind in zip(values, KINDS, strict=True))
    return w, a, t


@dataclass(frozen=True)
class ProbePlan:
    """What is timed of a model.

    Attributes:
        probes: The graphs.
        entries: Of every encoder of the table, the name of the probe that has its time; None where it is
            fitted.
        heaviest: The shape that is timed at every precision.
        widest: The precision that every shape is timed at, as is ``narrowest``.
        narrowest: See there.
    """

    probes: tuple[Probe, ...]
    entries: Mapping[Key, str | None]
    heaviest: str
    widest: Triple
    narrowest: Triple


def planned(
    encoders: Sequence[TimedEncoder],
    programs: Mapping[Triple, Hashable],
    ends: tuple[Triple, Triple],
    anchors: Sequence[BitConfig],
    checks: Sequence[BitConfig],
) -> ProbePlan:
    """Chooses the graphs to time.

    Args:
        encoders: Those of the model, in order.
        programs: What distinguishes the instructions of an encoder, by precision.
        ends: The widest and the narrowest of these precisions.
        anchors: Whole models that the table is fitted to: the widest and the narrowest one.
        checks: Whole models that tell its error.
    """
    work = {
        shape: sum(_work(e) for e in encoders if e.shape == shape)
        for shape in dict.fromkeys(e.shape for e in encoders)
    }
    shapes = sorted(work, key=lambda shape: -work[shape])
    firsts = {programs[triple]: triple for triple in ends}
    for triple, program in programs.items():
        firsts.setdefault(program, triple)
    everything = len(shapes) * len(firsts) <= MOST_TIMED
    of_ends = {programs[triple] for triple in ends}
    timed: dict[tuple[str, Hashable], Probe] = {}
    for place, shape in enumerate(shapes):
        for number, (program, triple) in enumerate(firsts.items()):
            # Of the second shape one more tells how well the others are fitted.
            tested = place == 1 and program == next((p for p in firsts if p not in of_ends), None)
            if everything or place == 0 or program in of_ends or tested:
                timed[shape, program] = Probe(f"encoder-{place}-{number}", ENCODER, (shape, triple))
    entries = {
        (shape, triple): probe.name if (probe := timed.get((shape, program))) else None
        for shape in shapes
        for triple, program in programs.items()
    }
    wholes = [
        _whole(f"{part}-{n}", part, c)
        for part, cs in ((ANCHOR, anchors), (CHECK, checks))
        for n, c in enumerate(cs)
    ]
    probes = (Probe(REST, REST), Probe("float", FLOAT_MODEL), *timed.values(), *wholes)
    return ProbePlan(probes, entries, shapes[0], *ends)


def _work(encoder: TimedEncoder) -> int:
    tokens = encoder.shape.partition("x")[0]
    return math.prod((int(tokens), sum(encoder.macs.values())))


def _whole(name: str, part: str, config: BitConfig) -> Probe:
    models = tuple((e.bits("weights", ""), e.bits("activations", ""), e.attention) for e in config.encoders)
    return Probe(name, part, None, models, config.digest)
