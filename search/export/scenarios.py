"""Scenarios: which point of a measured front of formats serves a purpose, with its interval, and why."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from bitfront.evaluators.files import readable
from bitfront.evaluators.generation.bootstrap import Interval
from bitfront.evaluators.tasks.generation.task import MOST_PSNR
from bitfront.search.problem.wording import megabytes, milliseconds
from bitfront.search.runs.generation import GenerationRun
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line
from bitfront.spaces.quantities import BYTES, MILLISECONDS, count_of, read_quantity

Preference = Literal["psnr", "latency", "size"]
_FIELDS = ("name", "prefer", "min_psnr", "max_size", "max_latency", "max_memory")
_EXAMPLE = 'name = "phone", prefer = "psnr" (or latency, size), min_psnr = 30, max_size = "0.3x"'


@dataclass(frozen=True)
class Scenario:
    """A purpose.

    Attributes:
        name: For people.
        prefer: What the chosen point is the best in, among those within the bounds.
        min_psnr: Lowest PSNR in dB, to which the lower end of the interval is held; None for any.
        max_size: Bytes, or a share of the float pipeline's such as ``0.3x``; None for any.
        max_latency: Time of a picture, or such a share; None for any.
        max_memory: Peak of a fresh process, or such a share; points without that measurement are left out.
    """

    name: str
    prefer: Preference
    min_psnr: float | None = None
    max_size: str | None = None
    max_latency: str | None = None
    max_memory: str | None = None

    @property
    def words(self) -> str:
        """The bounds in words."""
        asked = {
            "PSNR of at least": self.min_psnr and f"{self.min_psnr:g} dB",
            "size of at most": self.max_size,
        }
        asked |= {"time of at most": self.max_latency, "memory of at most": self.max_memory}
        return ", ".join(f"{name} {bound}" for name, bound in asked.items() if bound) or "no bounds"


@dataclass(frozen=True)
class Candidate:
    """A point that may be chosen: what it is worth and costs."""

    trial: int
    label: str
    psnr: Interval
    size_bytes: float
    latency_ms: float
    memory: float


@dataclass(frozen=True)
class Recommendation:
    """What a scenario is advised.

    Attributes:
        scenario: The purpose.
        chosen: The point; None where none is within the bounds.
        why: In a sentence.
    """

    scenario: Scenario
    chosen: Candidate | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        found = self.chosen
        if found is None:
            return {"scenario": self.scenario.name, "trial": None, "why": self.why}
        return {
            "scenario": self.scenario.name,
            "trial": found.trial,
            "formats": found.label,
            "psnr": found.psnr.mean,
            "psnr_low": found.psnr.low,
            "psnr_high": found.psnr.high,
            "size_bytes": found.size_bytes,
            "latency_ms": found.latency_ms,
            "why": self.why,
        }


def usual_scenarios() -> tuple[Scenario, ...]:
    """Those that bitfront comes with."""
    text = (resources.files("bitfront.search.export") / "scenarios.toml").read_text(encoding="utf-8")
    return _parsed(text, "scenarios.toml")


def read_scenarios(path: Path) -> tuple[Scenario, ...]:
    """Those of a TOML file with a table ``[[scenario]]`` for each.

    Raises:
        UserError: The file is missing or is none of such.
    """
    try:
        with readable(path):
            text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is no file of scenarios: give a TOML file with [[scenario]] tables"
        ) from error
    return _parsed(text, str(path))


def _parsed(text: str, place: str) -> tuple[Scenario, ...]:
    try:
        entries = tomllib.loads(text)["scenario"]
        found = tuple(_scenario(entry) for entry in entries)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        reason = one_line(error, 80)
        raise UserError(
            f"{place} cannot be read ({reason}): expected [[scenario]] with {_EXAMPLE}"
        ) from error
    if not found:
        raise UserError(f"{place} has no scenario: expected [[scenario]] with {_EXAMPLE}")
    return found


def _scenario(entry: Any) -> Scenario:
    unknown = set(entry) - set(_FIELDS)
    if unknown:
        raise ValueError(f"unknown entry {sorted(unknown)[0]!r}")
    if entry["prefer"] not in get_args(Preference):
        raise ValueError(f"prefer is {entry['prefer']!r}")
    for name, units in (("max_size", BYTES), ("max_memory", BYTES), ("max_latency", MILLISECONDS)):
        text = entry.get(name)
        if text is not None and not (read_quantity(str(text), units) or read_quantity(str(text), {"x": 1.0})):
            raise ValueError(f"{name} is {text!r}")
    psnr = entry.get("min_psnr")
    bounds = {name: None if entry.get(name) is None else str(entry[name]) for name in _FIELDS[3:]}
    return Scenario(str(entry["name"]), entry["prefer"], None if psnr is None else float(psnr), **bounds)


def recommendations(run: GenerationRun, scenarios: Sequence[Scenario] | None = None) -> list[Recommendation]:
    """What each scenario is advised, of all that the run has evaluated and that is not the float pipeline.

    Args:
        run: With at least one evaluated trial.
        scenarios: None for the usual ones.
    """
    found = candidates(run)
    return [_advised(run, scenario, found) for scenario in scenarios or usual_scenarios()]


def candidates(run: GenerationRun) -> list[Candidate]:
    """The evaluated points whose pictures differ from those of the float pipeline, feasible ones alone."""
    found = []
    for row in run.evaluated.to_dict("records"):
        trial = int(row["trial"])
        if not row["feasible"] or float(row["psnr"]) >= MOST_PSNR:
            continue
        point = run.points.get(str(trial))
        latency = float(row["latency_ms"])  # by parts for all: not every point was timed as a whole
        memory = math.nan if point is None else float(point.footprint.peak)
        size = float(row["size_bytes"])
        found.append(Candidate(trial, run.config(trial).label, run.interval(trial), size, latency, memory))
    return found


def _advised(run: GenerationRun, scenario: Scenario, found: Sequence[Candidate]) -> Recommendation:
    base = run.points.get("fp32")
    whole = dict.fromkeys(run.genes, "fp32")
    size = float(run.costs.size_bytes(whole))
    latency = run.costs.latency_ms(whole)
    memory = math.nan if base is None else float(base.footprint.peak)
    bounds = (
        _bound(scenario.max_size, size, BYTES),
        _bound(scenario.max_latency, latency, MILLISECONDS),
        _bound(scenario.max_memory, memory, BYTES),
    )
    within = [entry for entry in found if _is_within(entry, scenario, bounds)]
    if not within:
        best = max(found, key=lambda entry: entry.psnr.mean, default=None)
        nearest = "nothing was evaluated"
        if best is not None:
            nearest = f"the best of all is trial {best.trial}, {best.psnr.written()} dB"
        return Recommendation(scenario, None, f"no point has {scenario.words}; {nearest}")
    orders = {
        "psnr": lambda entry: (-entry.psnr.mean, entry.size_bytes),
        "latency": lambda entry: (entry.latency_ms, -entry.psnr.mean),
        "size": lambda entry: (entry.size_bytes, -entry.psnr.mean),
    }
    ordered = sorted(within, key=orders[scenario.prefer])
    chosen = ordered[0]
    what = {"psnr": "of the best PSNR", "latency": "the quickest", "size": "the smallest"}[scenario.prefer]
    why = (
        f"{what} of {count_of(len(within), 'point')} with {scenario.words}: {chosen.size_bytes / size:.0%} "
        f"of the float size, {latency / chosen.latency_ms:.2f} times as quick"
    )
    if len(ordered) > 1:
        why += f"; next is trial {ordered[1].trial} ({_told(ordered[1])})"
    return Recommendation(scenario, chosen, why)


def _told(entry: Candidate) -> str:
    return f"{entry.psnr.mean:.2f} dB, {megabytes(entry.size_bytes)} MB, {milliseconds(entry.latency_ms)} ms"


def _bound(text: str | None, whole: float, units: dict[str, float]) -> float | None:
    if text is None:
        return None
    share = read_quantity(text, {"x": 1.0})
    return share * whole if share else read_quantity(text, units)


def _is_within(entry: Candidate, scenario: Scenario, bounds: tuple[float | None, ...]) -> bool:
    values = (entry.size_bytes, entry.latency_ms, entry.memory)
    if any(bound is not None and not value <= bound for value, bound in zip(values, bounds, strict=True)):
        return False
    return scenario.min_psnr is None or entry.psnr.low >= scenario.min_psnr
