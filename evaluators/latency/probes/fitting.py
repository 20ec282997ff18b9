"""A latency table of the times of a probe folder: what slows rounds is taken out, parts are fitted to wholes.

A time is taken as that of its graph by that of its round, ``log t = a_round + b_graph + noise`` (Tukey's
median polish: Exploratory Data Analysis, 1977, chapter 11), so that whatever slows a round is told apart from
the graphs. Within a model an encoder takes longer or shorter than in a row of its like: one that takes ``e``
in a row, and ``w`` at the widest precision, takes ``k e + h w``, with ``k`` and ``h`` by least squares of the
whole models that are anchors, weighted by their errors and held near 1 and 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.latency.probes.plan import ANCHOR, CHECK, FLOAT_MODEL, REST, Key, Probe
from bitfront.evaluators.latency.probes.timings import ProbedModel, TimedSet, Timings
from bitfront.evaluators.latency.table import MOST_SUM_ERROR, Latency, LatencyTable, sum_error, sums_miss
from bitfront.spaces import Triple

_SWEEPS = 30
# Of a normal distribution: standard deviation by median absolute deviation, error of a median by a mean's.
_DEVIATION_OF_MEDIAN, _MEDIAN_TO_MEAN = 1.4826, 1.2533
# The share of rounds that are quick: milliseconds are those of the slowest of them.
_QUICK = 0.25
# What is expected of k and h before anything is measured: deviations from 1 and 0; no less of a row's time.
_EXPECTED, _LEAST_SHARE = 0.1, 0.1
# An error that no time is known better than.
_LEAST_ERROR = 0.002
# Widest and narrowest precision this close tell nothing of those between.
_TELLING = 0.02
# Where rounds vary by more, as a share, or so many runs were stopped, other work ran.
BUSY, MOST_STOPPED = 0.1, 0.5


@dataclass(frozen=True)
class CheckedSum:
    """A whole model beside the sum of its table entries.

    Attributes:
        name: Of the probe.
        digest: Of the configuration.
        sum_ms: Sum of the table's entries, in milliseconds.
        measured_ms: Time of the whole model.
        relative_error: Standard error of that time.
    """

    name: str
    digest: str
    sum_ms: float
    measured_ms: float
    relative_error: float

    @property
    def error(self) -> float:
        """Of the sum as a share; negative where it is too small."""
        return self.sum_ms / self.measured_ms - 1.0


@dataclass(frozen=True)
class FittedTable:
    """A table and how good it is.

    Attributes:
        table: The times.
        checks: Whole models that the table was not fitted to.
        rounds: Rounds that it is made of.
        variation: By how much rounds vary, as a share.
        stopped: Share of runs in which another program was given the processor.
        fit_error: Of times that were not measured, as a share; 0 where there are none.
    """

    table: LatencyTable
    checks: tuple[CheckedSum, ...]
    rounds: int
    variation: float
    stopped: float
    fit_error: float

    @property
    def disturbed(self) -> bool:
        """Whether other work ran on the machine."""
        return self.variation > BUSY or self.stopped > MOST_STOPPED

    @property
    def misses(self) -> bool:
        """Whether sums are further from whole models than a table should be."""
        return sums_miss([check.error for check in self.checks])


def fitted_tables(timings: Timings) -> list[FittedTable]:
    """The table of each set of times of a file."""
    return [_fitted(timings, one) for one in timings.sets]


def _fitted(timings: Timings, times: TimedSet) -> FittedTable:
    probed = timings.probed
    probes = {probe.name: probe for probe in probed.probes[times.runtime]}
    found, rounds, variation = _by_graph(times.means)
    rows = {name: (ms / probed.row, error) for name, (ms, error) in found.items()}
    alone, fit_error = _encoders(probed, rows, probes)
    within = _within_models(probed, found, alone, probes.values())
    encoders = {key: Latency.with_error(*pair) for key, pair in within.items()}
    whole = {name: Latency.with_error(*pair) for name, pair in found.items()}
    table = LatencyTable(
        encoders,
        whole[REST],
        next(whole[name] for name, probe in probes.items() if probe.part == FLOAT_MODEL),
        times.batch,
        f"measured:{times.runtime}",
        probed.scheme,
        timings.machine,
        times.threads,
    )
    checks = tuple(
        CheckedSum(name, probe.digest, _sum(probed, table, probe.models), found[name][0], found[name][1])
        for name, probe in probes.items()
        if probe.part == CHECK
    )
    table = dataclasses.replace(table, sum_error=sum_error([check.error for check in checks]))
    return FittedTable(table, checks, rounds, variation, times.stopped, fit_error)


def _sum(probed: ProbedModel, table: LatencyTable, models: tuple[Triple, ...]) -> float:
    keys = zip(probed.encoders, models, strict=True)
    return table.rest.milliseconds + sum(table.encoders[key].milliseconds for key in keys)


Timed = tuple[float, float]  # milliseconds, and their relative standard error


def _by_graph(means: Mapping[str, tuple[float, ...]]) -> tuple[dict[str, Timed], int, float]:
    """The time of each graph in a quick round, with its error; how many rounds, and how they vary."""
    logs = np.log(np.stack([np.asarray(values) for values in means.values()], axis=1))
    levels, graphs = _polished(logs)
    left = np.abs(logs - levels[:, None] - graphs)
    errors = _MEDIAN_TO_MEAN * _DEVIATION_OF_MEDIAN * np.median(left, axis=0) / math.sqrt(len(logs))
    level = float(np.quantile(levels, _QUICK))
    found = {
        name: (math.exp(graph + level), max(_LEAST_ERROR, float(error)))
        for name, graph, error in zip(means, graphs, errors, strict=True)
    }
    return found, len(logs), float(levels.std())


def _polished(logs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Levels of rounds and of graphs whose sums fit a matrix ``[rounds, graphs]``, by medians."""
    rounds, graphs = np.zeros(logs.shape[0]), np.zeros(logs.shape[1])
    for _ in range(_SWEEPS):
        rounds += np.median(logs - rounds[:, None] - graphs, axis=1)
        graphs += np.median(logs - rounds[:, None] - graphs, axis=0)
    return rounds, graphs


def _encoders(
    probed: ProbedModel, rows: Mapping[str, Timed], probes: Mapping[str, Probe]
) -> tuple[dict[Key, Timed], float]:
    """The time of every encoder by itself: measured, or by the profile of the heaviest shape."""
    timed = {key: rows[name] for key, name in probed.entries.items() if name is not None}

    def profile(key: Key) -> float:
        """The time of an encoder between those of its shape at both ends."""
        shape, bits = key
        (wide, _), (narrow, _) = timed[shape, probed.widest], timed[shape, probed.narrowest]
        (first, _), (last, _) = (
            timed[probed.heaviest, probed.widest],
            timed[probed.heaviest, probed.narrowest],
        )
        (own, _) = timed[probed.heaviest, bits]
        if abs(last - first) < _TELLING * first:
            return wide * own / first
        return max(0.1 * wide, wide + (narrow - wide) * (own - first) / (last - first))

    ends = (probed.widest, probed.narrowest)
    measured = {(probe.key, probe.name) for probe in probes.values() if probe.key is not None}
    tested = [
        profile(key) / rows[name][0] - 1.0
        for key, name in measured
        if key[0] != probed.heaviest and rows[name][0] not in [timed[key[0], end][0] for end in ends]
    ]
    fitted = [key for key, name in probed.entries.items() if name is None]
    error = max(map(abs, tested), default=MOST_SUM_ERROR) if fitted else 0.0
    for key in fitted:
        timed[key] = profile(key), math.hypot(error, timed[key[0], probed.widest][1])
    return timed, error


def _within_models(
    probed: ProbedModel, found: Mapping[str, Timed], alone: Mapping[Key, Timed], probes: Iterable[Probe]
) -> dict[Key, Timed]:
    """The time of every encoder within a model, of what it takes in a row of its like.

    It may be negative that ``h`` adds: entering and leaving a row is part of a row's time.
    """
    rows: list[list[float]] = []
    targets: list[float] = []
    for probe in probes:
        if probe.part != ANCHOR:
            continue
        own = [alone[key] for key in zip(probed.encoders, probe.models, strict=True)]
        wide = [alone[shape, probed.widest] for shape in probed.encoders]
        parts, (whole, error) = sum(ms for ms, _ in own), found[probe.name]
        deviation = whole * math.hypot(error, sum(e * ms for ms, e in own) / parts)
        rows.append([parts / deviation, sum(ms for ms, _ in wide) / deviation])
        targets.append((whole - found[REST][0]) / deviation)
    rows += [[1.0 / _EXPECTED, 0.0], [0.0, 1.0 / _EXPECTED]]
    targets += [1.0 / _EXPECTED, 0.0]
    (k, h), *_ = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)

    def within(key: Key) -> Timed:
        (ms, error), (wide, _) = alone[key], alone[key[0], probed.widest]
        return max(_LEAST_SHARE * ms, float(k) * ms + float(h) * wide), error

    return {key: within(key) for key in alone}
