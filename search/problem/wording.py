"""Numbers as people read them: sizes in MB, times in ms, shares in percent, an em dash where unknown."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from bitfront.evaluators.tasks.metric import DECIMALS, SHARE_DECIMALS
from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.search.problem.objectives import FURTHER_COSTS, Objective
from bitfront.spaces import FORMATS, KINDS, Choices, FormatName
from bitfront.spaces.quantities import count_of

MISSING = "\N{EM DASH}"
# A format of all genes, or those by kind.
Ends = FormatName | Mapping[str, FormatName]
_DIGITS = 4
# Shares that have a word, and how near to one, as a share of it, counts as it.
_FRACTIONS = {
    "three quarters of": 3 / 4,
    "two thirds of": 2 / 3,
    "half": 1 / 2,
    **{
        f"{'an' if name == 'eighth' else 'a'} {name} of": 1 / parts
        for parts, name in enumerate(
            ("third", "quarter", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), 3
        )
    },
}
_NEAR = 0.03
# Multiples from here on have no decimals; errors below this have two.
_WHOLE_TIMES = 10.0
_FINE_ERROR = 0.095


def megabytes(size_bytes: float, largest: float | None = None) -> str:
    """A size in MB of 10^6 bytes; ``largest`` of a column sets the decimals for all its entries."""
    return _fixed(size_bytes / 1e6, (size_bytes if largest is None else largest) / 1e6)


def milliseconds(value: float, largest: float | None = None) -> str:
    """A time in milliseconds; ``largest`` of a column sets the decimals for all its entries."""
    return _fixed(value, value if largest is None else largest)


class ShownCost(NamedTuple):
    """How a cost beside latency and size is shown.

    Attributes:
        cost: The cost.
        scale: Factor from its unit to the shown one.
        unit: The shown unit.
    """

    cost: Objective
    scale: float
    unit: str

    @classmethod
    def of(cls, cost: Objective) -> ShownCost:
        """Bytes in MB of 10^6 bytes, all else as it is."""
        return cls(cost, 1e-6, "MB") if cost.unit == "bytes" else cls(cost, 1.0, cost.unit)

    def text(self, value: float, largest: float | None = None) -> str:
        """A value without its unit; ``largest`` of a column sets the decimals for all its entries."""
        return _fixed(value * self.scale, (value if largest is None else largest) * self.scale)


def further_costs(columns: Collection[str]) -> list[ShownCost]:
    """The costs beside latency and size that some columns have."""
    return [ShownCost.of(cost) for cost in FURTHER_COSTS.values() if cost.column in columns]


def percent(value: float, decimals: int = 2) -> str:
    """A share that is already in percent, or another metric, without its unit."""
    return MISSING if math.isnan(value) else f"{value:.{decimals}f}"


def quality(value: float, unit: str) -> str:
    """A metric with its unit, to as many decimals as chance leaves of a share, or of nats."""
    return f"{percent(value, SHARE_DECIMALS if unit == '%' else DECIMALS)} {unit}".rstrip()


def choice_ends(choices: Choices) -> tuple[Ends, Ends]:
    """The narrowest and the widest format, by kind where kinds differ."""
    if choices.same:
        return choices.every[0], choices.every[-1]
    narrow, wide = ({str(kind): choices.of(kind)[place] for kind in KINDS} for place in (0, -1))
    return narrow, wide


def ended_words(narrow: Ends, wide: Ends) -> tuple[str, str]:
    """What a gene that is narrowed has, and what the others have; by kind where kinds differ."""
    if isinstance(narrow, Mapping) or isinstance(wide, Mapping):
        return "its narrowest format", "their widest"
    if isinstance(narrow, int) and isinstance(wide, int):
        return f"{narrow} bits", f"{wide}"
    return FORMATS[narrow].title, FORMATS[wide].title


def narrowed_words(narrow: Ends, wide: Ends) -> str:
    """Such as ``at 4 instead of 8 bits``; by kind where kinds differ."""
    if isinstance(narrow, Mapping) or isinstance(wide, Mapping):
        return "in its narrowest instead of its widest format"
    if isinstance(narrow, int) and isinstance(wide, int):
        return f"at {narrow} instead of {wide} bits"
    return f"at {FORMATS[narrow].title} instead of {FORMATS[wide].title}"


def duration(seconds: float) -> str:
    """A time as ``45 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def points(count: int) -> str:
    """A number of points in words."""
    return count_of(count, "point") if count else "no point"


class Difference(NamedTuple):
    """A difference to the float model.

    Attributes:
        value: In the metric's unit.
        error: Its paired standard error; None where it is not known.
    """

    value: float
    error: float | None = None

    @classmethod
    def of(cls, comparison: PairedComparison) -> Difference:
        """That of a comparison; where all images came out alike, none tells how far chance could move it."""
        changed = comparison.lost + comparison.won
        return cls(comparison.difference, comparison.difference_standard_error if changed else None)


def difference(found: Difference | None, decimals: int = 2) -> str:
    """A difference with its paired standard error."""
    if found is None or math.isnan(found.value):
        return MISSING
    error = "" if found.error is None else f" \N{PLUS-MINUS SIGN} {found.error:.{decimals}f}"
    return f"{found.value:+.{decimals}f}{error}"


def against_float(
    found: Difference | None,
    unit: str,
    size_share: float,
    speed: float,
    modelled: bool = False,
    noise: float = 0.0,
    further: Mapping[str, float] | None = None,
) -> str:
    """What a model costs in plain words, such as ``-0.4 ± 0.5 points, a sixth of the size, twice as fast``.

    Args:
        found: Its difference to the float model in quality; left out where it is not known.
        unit: Of the metric; a share in percent differs by points.
        size_share: Its size as a share of the float model's; left out where it is NaN.
        speed: The float model's latency as a multiple of this one's; left out where it is NaN.
        modelled: Whether that is modelled.
        noise: The share of a latency that is noise: what differs by less is as fast.
        further: Further costs as shares of the float model's by name; left out where they are NaN.
    """
    parts = []
    if found is not None and not math.isnan(found.value):
        fine = 2 if unit != "%" or 0 < (found.error or 0.0) < _FINE_ERROR else 1
        decimals = fine if unit == "%" else DECIMALS
        parts.append(f"{difference(found, decimals)} {'points' if unit == '%' else unit}".rstrip())
    if not math.isnan(size_share):
        parts.append(_share_in_words(size_share, "size"))
    known = {name: share for name, share in (further or {}).items() if not math.isnan(share)}
    parts += [_share_in_words(share, name) for name, share in known.items()]
    if not math.isnan(speed):
        even = abs(speed - 1.0) <= noise
        parts.append("modelled " * modelled + ("just as fast" if even else _speed_in_words(speed)))
    return ", ".join(parts)


def stand_behind(alike: int, near: int) -> str:
    """What stands behind a listed point, such as ``and 3 alike``; empty where nothing does."""
    parts = [f"{count} {how}" for count, how in ((alike, "alike"), (near, "near it")) if count]
    return f"and {' and '.join(parts)}" if parts else ""


def _share_in_words(share: float, cost: str) -> str:
    """A share of the float model's cost: as a simple fraction where it is near one, in percent otherwise."""
    if abs(share - 1.0) <= _NEAR:
        return f"the same {cost}"
    if share > 1.0:
        return f"{share:.2g} times the {cost}"
    name, fraction = min(_FRACTIONS.items(), key=lambda entry: abs(share / entry[1] - 1.0))
    near = abs(share / fraction - 1.0) <= _NEAR
    return f"{name} the {cost}" if near else f"{100 * share:.2g} % of the {cost}"


def _speed_in_words(speed: float) -> str:
    """How many times as fast, or as slow, to one decimal."""
    times, how = (speed, "fast") if speed >= 1.0 else (1.0 / speed, "slow")
    if round(times, 1) == 1.0:
        return "just as fast"
    if round(times, 1) == 2.0:
        return f"twice as {how}"
    return f"{times:.{int(round(times, 1) < _WHOLE_TIMES)}f} times as {how}"


def quantization(settings: Mapping[str, Any]) -> str:
    """Scheme, recipe, what was left out of it and an observer of its own, as far as they are recorded."""
    parts = [str(settings.get("scheme") or "")]
    if settings.get("recipe"):
        left_out = ", ".join(settings.get("without") or ())
        parts.append(f"recipe {settings['recipe']}" + (f" without {left_out}" if left_out else ""))
    if settings.get("observer"):
        parts.append(f"observer {settings['observer']}")
    return ", ".join(part for part in parts if part)


def evaluator(described: Mapping[str, Any], chosen: str = "") -> str:
    """What evaluates: batches, threads and kernels; ``chosen`` may say how the former were chosen."""
    threads = count_of(described["threads"], "thread")
    return f"batches of {described['batch_size']} on {threads}{chosen}; {described['kernels']}"


def is_modelled(latency_source: str) -> bool:
    """Whether times of this source are modelled, also through a table of modelled times."""
    return "model:" in latency_source


def same_source(latency_source: str, measured_source: str) -> bool:
    """Whether times of a source were measured in that runtime, directly or for a table."""
    return latency_source.rstrip(")").endswith(measured_source)


def _fixed(value: float, largest: float) -> str:
    """Four significant digits of the largest value, one decimal at least."""
    if math.isnan(value):
        return MISSING
    digits = _DIGITS - 1 - math.floor(math.log10(largest)) if largest > 0 else 1
    return f"{value:.{min(max(digits, 1), 6)}f}"
