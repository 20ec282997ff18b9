"""What an assignment of formats costs: bytes by gene, and times of parts and of pictures measured here."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from bitfront.evaluators.generation.compiled import HALF, CompiledPart
from bitfront.evaluators.generation.graphs import Arrays
from bitfront.evaluators.generation.parts import Part
from bitfront.evaluators.generation.workbench import Workbench
from bitfront.evaluators.latency.costs import FurtherCost
from bitfront.evaluators.latency.table import Latency
from bitfront.evaluators.latency.timed_runtime import TimedRun, TimingProtocol, time_interleaved
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.spaces.part_formats import FLOAT, FORMATS, FormatConfig, FormatSpace

SOURCE = "measured:openvino"
# Between a format's name and that of a part in times: bfloat16 weights whose products are in float32.
STORED = f"{HALF} weights"


@dataclass(frozen=True)
class PartTimes:
    """Times of one part for one picture, in milliseconds by format.

    Attributes:
        calls: How often it is called for a picture.
        milliseconds: Of all these calls, by format.
        spread: Range of the repeats' medians in percent, the widest of them.
    """

    calls: int
    milliseconds: Mapping[str, float]
    spread: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"calls": self.calls, "milliseconds": dict(self.milliseconds), "spread": self.spread}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PartTimes:
        """The inverse of :meth:`to_json`; KeyError or ValueError where it is none."""
        times = {str(name): float(value) for name, value in document["milliseconds"].items()}
        return cls(int(document["calls"]), times, float(document["spread"]))


@dataclass(frozen=True)
class CostTable:
    """What is known of costs before anything is evaluated; all of it is a sum over genes but bfloat16's time.

    Attributes:
        formats: The formats.
        weights: Bytes of the weights of every gene in every format, scales included.
        theory: Of every gene, its number of weights.
        others: Bytes of what has no format, by part.
        shares: Multiply-accumulates of every gene as a share of its part's.
        parts: The part of every gene.
        times: By part.
        rest_ms: What a picture takes beside its parts, in milliseconds.
    """

    formats: tuple[str, ...]
    weights: Mapping[str, Mapping[str, int]]
    theory: Mapping[str, int]
    others: Mapping[str, int]
    shares: Mapping[str, float]
    parts: Mapping[str, str]
    times: Mapping[str, PartTimes]
    rest_ms: float

    def size_bytes(self, formats: Mapping[str, str]) -> int:
        """Bytes of all weights in their formats, their scales, and what has no format."""
        return sum(self.weights[gene][name] for gene, name in formats.items()) + sum(self.others.values())

    def part_bytes(self, part: str, name: str) -> int:
        """The same of one part in one format."""
        own = sum(self.weights[gene][name] for gene, of in self.parts.items() if of == part)
        return own + self.others[part]

    def theory_bytes(self, part: str, name: str) -> float:
        """Bytes of a part's weights at so many bits each, without scales, and of what has no format."""
        weights = sum(count for gene, count in self.theory.items() if self.parts[gene] == part)
        return weights * FORMATS[name].bits / 8.0 + self.others[part]

    def latency_ms(self, formats: Mapping[str, str]) -> float:
        """Time of one picture: the parts' times, each gene's by its share of its part's work."""
        total = self.rest_ms
        for part, times in self.times.items():
            own = {gene: formats[gene] for gene, of in self.parts.items() if of == part}
            whole = set(own.values()) == {HALF}
            for gene, name in own.items():
                key = STORED if name == HALF and not whole and STORED in times.milliseconds else name
                total += self.shares[gene] * times.milliseconds[key]
        return total

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        plain = {name: dict(getattr(self, name)) for name in ("theory", "others", "shares", "parts")}
        return {
            "formats": list(self.formats),
            "weights": {gene: dict(found) for gene, found in self.weights.items()},
            **plain,
            "times": {part: times.to_json() for part, times in self.times.items()},
            "rest_ms": self.rest_ms,
            "machine": platform.processor() or platform.machine(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CostTable:
        """The inverse of :meth:`to_json`; KeyError, TypeError or ValueError where it is none."""
        plain = {name: document[name] for name in ("weights", "theory", "others", "shares", "parts")}
        times = {part: PartTimes.from_json(found) for part, found in document["times"].items()}
        return cls(tuple(document["formats"]), **plain, times=times, rest_ms=float(document["rest_ms"]))


class GenerationCosts:
    """Costs of configurations, as the search problem asks for them (``CostModel``).

    Args:
        table: What is known.
        space: Of the assignments.
    """

    latency_source = SOURCE
    # No other costs are known of pictures.
    further: Mapping[str, FurtherCost] = MappingProxyType({})

    def __init__(self, table: CostTable, space: FormatSpace) -> None:
        self.table, self._space = table, space
        self.latency_noise = max((times.spread for times in table.times.values()), default=0.0) / 200.0

    def latency_ms(self, config: FormatConfig) -> float:
        """Of a picture."""
        return self.table.latency_ms(dict(config.formats))

    def size_bytes(self, config: FormatConfig) -> int:
        """Of all parts."""
        return self.table.size_bytes(dict(config.formats))

    def minimum_latency_ms(self) -> float:
        """The least of the space; a part takes its quickest format in every gene."""
        times = self.table.times.values()
        return self.table.rest_ms + sum(
            min(found.milliseconds[name] for name in self._space.widths) for found in times
        )

    def minimum_size_bytes(self) -> int:
        """The least of the space."""
        return self._extreme(min)

    def maximum_size_bytes(self) -> int:
        """The greatest of the space."""
        return self._extreme(max)

    def _extreme(self, choose: Any) -> int:
        weights = self.table.weights
        own = sum(
            choose(weights[gene][name] for name in self._space.widths) for gene in self._space.gene_names
        )
        return int(own + sum(self.table.others.values()))


def measured_costs(
    bench: Workbench, protocol: TimingProtocol | None = None, share_done: ShareDone = unreported
) -> CostTable:
    """Counts bytes, and times every part in every format, interleaved, and a whole float picture.

    Args:
        bench: Of the pipeline, prepared.
        protocol: How often each is run.
        share_done: Called with the share that is done.
    """
    formats = tuple(dict.fromkeys((*bench.formats, FLOAT)))
    needed = bench.timed_calls(bench.everywhere(FLOAT))

    def part_run(part: Part, name: str) -> TimedRun:
        if name == STORED:
            graph = bench.graphs[part.name].assembled(bench.everywhere(HALF))
            return _run(CompiledPart(graph, "f32", bench.threads), needed[part.name])
        return _run(bench.compiled(part, bench.everywhere(name)), needed[part.name])

    makers: dict[Any, Callable[[], TimedRun]] = {}
    for part in bench.pipeline.parts:
        stored = (STORED,) if HALF in formats and len(part.genes) > 1 else ()
        makers |= {(part.name, name): partial(part_run, part, name) for name in (*formats, *stored)}
    makers["picture", ""] = partial(_picture_run, bench, bench.everywhere(FLOAT))
    found = _timed(bench, makers, protocol, share_done)
    times = {
        part.name: PartTimes(
            len(needed[part.name]),
            {
                key[1]: latency.milliseconds * len(needed[part.name]) / bench.timed_together
                for key, latency in found.items()
                if key[0] == part.name
            },
            max(latency.spread_percent for key, latency in found.items() if key[0] == part.name),
        )
        for part in bench.pipeline.parts
    }
    whole = found["picture", ""].milliseconds / bench.timed_together
    rest = max(0.0, whole - sum(entry.milliseconds[FLOAT] for entry in times.values()))
    return counted(bench, formats, times, rest)


def counted(
    bench: Workbench, formats: Sequence[str], times: Mapping[str, PartTimes], rest_ms: float
) -> CostTable:
    """The table with bytes by gene."""
    graphs = [(part, bench.graphs[part.name]) for part in bench.pipeline.parts]
    owners = {gene: part.name for part in bench.pipeline.parts for gene in part.genes}
    return CostTable(
        tuple(formats),
        {
            g: {name: graph.weight_bytes(g, name) for name in formats}
            for part, graph in graphs
            for g in part.genes
        },
        {gene: int(graph.theory_bytes(gene, 8)) for part, graph in graphs for gene in part.genes},
        {part.name: graph.other_bytes for part, graph in graphs},
        {gene: graph.share_of_work(gene) for part, graph in graphs for gene in part.genes},
        owners,
        times,
        rest_ms,
    )


def picture_times(
    bench: Workbench,
    assignments: Mapping[str, Mapping[str, str]],
    protocol: TimingProtocol | None = None,
    share_done: ShareDone = unreported,
) -> dict[str, float]:
    """Milliseconds of a whole picture in each of some assignments, interleaved.

    Args:
        bench: Of the pipeline, prepared.
        assignments: Formats by gene, by any name.
        protocol: How often each is run.
        share_done: Called with the share that is done.
    """
    makers = {name: partial(_picture_run, bench, formats) for name, formats in assignments.items()}
    found = _timed(bench, makers, protocol, share_done)
    return {name: latency.milliseconds / bench.timed_together for name, latency in found.items()}


def _timed(
    bench: Workbench,
    makers: Mapping[Any, Callable[[], TimedRun]],
    protocol: TimingProtocol | None,
    share_done: ShareDone,
) -> dict[Any, Latency]:
    """Times runs, interleaved; of a large pipeline one after the other, each made and dropped in turn."""
    names = [[name] for name in makers] if bench.large else [list(makers)]
    protocol = protocol or TimingProtocol()
    protocol = dataclasses.replace(protocol, budget_seconds=protocol.budget_seconds / len(names))
    found: dict[Any, Latency] = {}
    for place, some in enumerate(names):
        found |= time_interleaved(
            {name: makers[name]() for name in some},
            protocol,
            lambda share, place=place: share_done((place + share) / len(names)),  # type: ignore[misc]
        )
    return found


def _picture_run(bench: Workbench, formats: Mapping[str, str]) -> TimedRun:
    """The timed pictures in an assignment."""
    calls = {part.name: bench.compiled(part, formats) for part in bench.pipeline.parts}
    return partial(bench.pipeline.pictures, calls, bench.timed, bench.sampling)


def _run(model: CompiledPart, calls: Sequence[Arrays]) -> TimedRun:
    """One of the calls that a picture takes: the first, since all have its shapes."""
    import torch

    tensors = [torch.from_numpy(array) for array in calls[0]]
    return partial(model, *tensors)
