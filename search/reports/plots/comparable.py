"""What several runs share that stand in one picture: images, float model, and one source of latencies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bitfront.search.problem.wording import is_modelled
from bitfront.search.reports.plots.style import MOST_SERIES
from bitfront.search.runs.files import read_json
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

# Two measurements of one float model agree within this share: threads and kernels round differently.
_ROUNDING = 1e-3
# Computed latencies of one table or model agree within this.
_EXACT = 1e-9
# Settings that say which images a run was judged by, with the option of each.
_IMAGES = {"data": "--data", "seed": "--seed", "search_images": "--search-images"}
_WEIGHTS = {"model": "--model", "checkpoint": "--checkpoint", "image_size": "--image-size"}
# What tells the machines of measured times apart.
_MACHINE = ("cpu", "device")


def check_comparable(runs: Sequence[RecordedRun], latency: bool) -> None:
    """Refuses runs of which one axis would mix what cannot be compared.

    Args:
        runs: At least two.
        latency: Whether latencies are drawn.

    Raises:
        UserError: A run is named twice, there are too few or too many, they are judged by other metrics,
            images or float models, or their latencies are of other sources, batches or machines.
    """
    if len(runs) < 2:
        raise UserError(f"expected at least two runs to draw together, got {len(runs)}: name more")
    paths = [run.path.resolve() for run in runs]
    if len(set(paths)) < len(paths):
        twice = next(run.name for run, path in zip(runs, paths, strict=True) if paths.count(path) > 1)
        raise UserError(f"run {twice} is named twice: name each run once")
    if len(runs) > MOST_SERIES:
        raise UserError(f"{len(runs)} runs cannot be told apart in one picture: name at most {MOST_SERIES}")
    for one, other in itertools.pairwise(runs):
        _check_question(one, other)
        if latency:
            _check_latency(one, other)


def _check_question(one: RecordedRun, other: RecordedRun) -> None:
    """Metric, images and float model."""
    if one.quality != other.quality:
        titles = (one.quality.title, other.quality.title)
        raise _mixed("metrics", one, other, titles, "draw each of them alone")
    if _same_images(one, other) and _same_float(one, other):
        return
    for settings, what in ((_IMAGES, "images"), (_WEIGHTS, "float models")):
        for field, option in settings.items():
            found = [run.evaluation.get(field) for run in (one, other)]
            if found[0] != found[1]:
                words = (f"{option} {_shown(value)}" for value in found)
                raise _mixed(what, one, other, words, f"search again with the same {option}")
    if not _same_images(one, other):
        splits = ("its search split", "another one")
        raise _mixed("images", one, other, splits, "search again on the same images")
    scores = (_score(run) for run in (one, other))
    raise _mixed("float models", one, other, scores, "search again with the same weights on the same images")


def _same_images(one: RecordedRun, other: RecordedRun) -> bool:
    """Whether the search splits are the same pictures of their data, as far as is recorded."""
    splits = [read_json(run.path / "splits.json", dict, absent={}).get("search") for run in (one, other)]
    if None not in splits:
        return bool(splits[0] == splits[1])
    return all(one.evaluation.get(field) == other.evaluation.get(field) for field in _IMAGES)


def _same_float(one: RecordedRun, other: RecordedRun) -> bool:
    """Whether the float models are one, by what they score on these images, and by their size."""
    first, second = one.float_reference, other.float_reference
    if first is None or second is None:
        return all(one.evaluation.get(field) == other.evaluation.get(field) for field in _WEIGHTS)
    pairs = [(first.size_bytes, second.size_bytes)]
    pairs += [(value, second.values[name]) for name, value in first.values.items() if name in second.values]
    return all(_alike(before, after, _ROUNDING) for before, after in pairs)


def _check_latency(one: RecordedRun, other: RecordedRun) -> None:
    """Source, batch and machine."""
    for found in _clocks(one, other):
        if found[0] != found[1]:
            mend = "search again with the same, or leave latencies out with --only front_size,hypervolume"
            raise _mixed("latencies", one, other, found, mend)


def _clocks(one: RecordedRun, other: RecordedRun) -> Iterator[tuple[str, str]]:
    """What is to be the same of two runs, in words; later ones are known where the former are the same."""
    yield one.latency_source or "unknown source", other.latency_source or "unknown source"
    batches = (run.latency_batch or "unknown size" for run in (one, other))
    yield _pair(f"batches of {batch}" for batch in batches)
    yield _pair(count_of(run.latency_threads, "thread") for run in (one, other))
    if is_modelled(one.latency_source) or one.latency_source.startswith("table:"):
        times = [
            reference.latency_ms if (reference := run.float_reference) else math.nan for run in (one, other)
        ]
        if not _alike(times[0], times[1], _EXACT):
            yield _pair(f"{one.latency_source} with {time:.8g} ms for float32" for time in times)
        return
    machines = [_machine(run) for run in (one, other)]
    for name in _MACHINE:
        yield _pair(_shown(machine.get(name)) for machine in machines)


def _machine(run: RecordedRun) -> dict[str, Any]:
    """What ran what was timed: the machine of the search, or that of other prices."""
    found: dict[str, Any] = read_json(run.path / "environment.json", dict, absent={})
    return found if run.prices is None else {**found, "cpu": run.prices.machine}


def same_box(runs: Sequence[RecordedRun]) -> bool:
    """Whether hypervolumes are of one box, from the same reference to the same ideal point."""
    boxes = [_box(run) for run in runs]
    return all(
        one.keys() == other.keys() and all(_alike(value, other[name], 1e-6) for name, value in one.items())
        for one, other in itertools.pairwise(boxes)
    )


def _box(run: RecordedRun) -> dict[str, float]:
    corners = ("reference_point", "ideal_point")
    return {
        f"{corner}.{name}": float(value)
        for corner in corners
        for name, value in (run.summary.get(corner) or {}).items()
        if isinstance(value, int | float)
    }


def _alike(one: float, other: float, share: float) -> bool:
    """Whether two values are equal within a share; what is not known differs from nothing."""
    return math.isnan(one) or math.isnan(other) or math.isclose(one, other, rel_tol=share, abs_tol=share)


def _score(run: RecordedRun) -> str:
    reference = run.float_reference
    value = math.nan if reference is None else reference.values.get(run.quality.name, math.nan)
    return f"float32 with {run.quality.title} {value:.2f}"


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)


def _pair(found: Iterable[str]) -> tuple[str, str]:
    first, second = found
    return first, second


def _mixed(what: str, one: RecordedRun, other: RecordedRun, found: Iterable[str], mend: str) -> UserError:
    first, second = _pair(found)
    told = f"their {what} differ ({one.name}: {first}, {other.name}: {second})"
    return UserError(f"{one.name} and {other.name} cannot share an axis, since {told}: {mend}")
