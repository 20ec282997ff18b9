"""Latency tables: milliseconds by encoder shape and precision, and the sums of a configuration's entries."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitfront.spaces import BitConfig, Triple, UserError
from bitfront.spaces.formats import label, order

if TYPE_CHECKING:  # recorded shapes are added up without torch
    from bitfront.evaluators.models.blueprint import Blueprint
    from bitfront.evaluators.models.parts import EncoderParts

# Of a time, whose medians a spread is the range of; tables of elsewhere do not say how many theirs had.
REPEATS = 5
# Mean range of as many draws of a normal distribution, in standard deviations (the d2 of control charts), and
# standard error of a median relative to that of a mean.
_RANGE_OF_REPEATS, _MEDIAN_TO_MEAN = 2.326, 1.2533


def encoder_shape(encoder: EncoderParts) -> str:
    """The encoder's shape as text: tokens, channels, heads and hidden channels, such as ``197x192h3m768``.

    Windowed attention adds the tokens of a window, and ``s`` for shifted ones: ``3136x96h3m384w49s``; and how
    many windows there are where tokens do not fill them, as in ``4096x96h3m384w49x100s``. What stands between
    the products of other encoders follows, as in ``201x384h6m1024+rotary.halves+silu+gated``: all that the
    architecture decides, so that a table fits a model whatever a recipe makes of it.
    """
    shape = f"{encoder.tokens}x{encoder.channels}h{encoder.heads}m{encoder.hidden}"
    if encoder.window is not None:
        count, tokens = encoder.window.rows.shape
        many = "" if encoder.window.padding is None else f"x{count}"
        shape += f"w{tokens}{many}{'' if encoder.window.mask is None else 's'}"
    return "+".join((shape, *encoder.marks()))


@dataclass(frozen=True)
class TimedEncoder:
    """What a table is asked of an encoder by, and how its layers share the time.

    Attributes:
        shape: As tables name it; see :func:`encoder_shape`.
        macs: Multiply-accumulates of one token by linear layer.
    """

    shape: str
    macs: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"shape": self.shape, "macs": dict(self.macs)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TimedEncoder:
        """The inverse of :meth:`to_json`; KeyError, TypeError or ValueError where it is none."""
        macs = {str(layer): int(count) for layer, count in dict(document["macs"]).items()}
        return cls(str(document["shape"]), macs)


def timed_encoders(blueprint: Blueprint) -> tuple[TimedEncoder, ...]:
    """The encoders of a model, in their order."""
    return tuple(
        TimedEncoder(
            encoder_shape(encoder), {layer: parts.weight.numel() for layer, parts in encoder.linear().items()}
        )
        for encoder in blueprint.encoders
    )


# Where repeats spread more than this tells, they tell of other work on the machine.
MOST_NOISE = 0.1


def summed(
    config: BitConfig, encoders: Sequence[TimedEncoder], entry: Callable[[str, Triple], float], rest: float
) -> float:
    """A cost as the sum over encoders of what their layers' formats cost.

    An encoder whose layers differ takes the mean of their entries, weighted by multiply-accumulates. Equal
    shares of equal entries are counted and added without rounding in between: configurations of the same cost
    have it to the last bit, whichever of their encoders costs what.

    Args:
        config: The configuration.
        encoders: Those of the model, in their order.
        entry: The cost of a whole encoder by its shape and (weights, activations, attention).
        rest: That of everything else.
    """
    counts: dict[tuple[int, float], int] = {}
    for bits in config.encoders:
        encoder = encoders[bits.index]
        whole = sum(encoder.macs.values())
        for layer, count in encoder.macs.items():
            triple = bits.bits("weights", layer), bits.bits("activations", layer), bits.attention
            key = whole, entry(encoder.shape, triple)
            counts[key] = counts.get(key, 0) + count
    return math.fsum((rest, *(value * (count / whole) for (whole, value), count in counts.items())))


# How far sums may miss whole models, as a share, on average and at worst.
MOST_SUM_ERROR, WORST_SUM_ERROR = 0.03, 0.06


def sum_error(errors: Sequence[float]) -> float:
    """By how much sums err: the root of the mean square of what they miss whole models by; 0 of none."""
    return math.sqrt(sum(error * error for error in errors) / len(errors)) if errors else 0.0


def sums_miss(errors: Sequence[float]) -> bool:
    """Whether sums miss whole models by more than a table should; errors are shares of the whole."""
    return sum_error(errors) > MOST_SUM_ERROR or max(map(abs, errors), default=0.0) > WORST_SUM_ERROR


@dataclass(frozen=True)
class Latency:
    """One time: milliseconds for a batch, and the relative range of its repeats in percent."""

    milliseconds: float
    spread_percent: float = 0.0

    @property
    def relative_error(self) -> float:
        """Standard error of the median of all repeats as a share of it; 0 where there is no spread."""
        if not 0.0 < self.spread_percent < math.inf:
            return 0.0
        deviation = self.spread_percent / 100.0 / _RANGE_OF_REPEATS
        return _MEDIAN_TO_MEAN * deviation / math.sqrt(REPEATS)

    @classmethod
    def with_error(cls, milliseconds: float, error: float) -> Latency:
        """A time whose standard error, as a share of it, is known by other means than repeats."""
        return cls(milliseconds, 100.0 * error * math.sqrt(REPEATS) / _MEDIAN_TO_MEAN * _RANGE_OF_REPEATS)


@dataclass(frozen=True)
class LatencyTable:
    """Times of a model's parts; lower is better.

    Attributes:
        encoders: Time of an encoder by (shape, (weights, activations, attention)).
        rest: Time of everything outside the encoders, quantized, and of what encoders take longer within a
            model than each by itself.
        float_model: Time of the whole float model.
        batch: Images of a batch; every time is for one batch.
        source: Where the times come from, such as ``measured:torch`` or ``model:bops``.
        scheme: The quantization scheme that they are for; empty where it is not known.
        machine: What ran it, such as the name of a processor; empty where nothing did or it is not known.
        threads: Of one inference.
        sum_error: By how much sums of the times err against whole models, as a share of these; 0 where no
            whole model but the one that the table was filled up at was timed.
    """

    encoders: Mapping[tuple[str, Triple], Latency]
    rest: Latency
    float_model: Latency
    batch: int
    source: str
    scheme: str = ""
    machine: str = ""
    threads: int = 1
    sum_error: float = 0.0


def _wide(triple: Triple) -> tuple[int, ...]:
    return tuple(map(order, triple))


class TableLatency:
    """Latency of a model's configurations as the sum of a table's entries.

    An encoder whose layers differ in width (space ``layer``) takes the mean of the entries of its layers'
    widths, weighted by the layers' multiply-accumulates.

    Args:
        table: The times.
        encoders: Those of the model, in their order; see :func:`timed_encoders`.
        needed: Precisions that will be asked for.

    Raises:
        UserError: The table lacks an encoder shape or precision of the model.
    """

    def __init__(
        self, table: LatencyTable, encoders: Sequence[TimedEncoder], needed: Iterable[Triple]
    ) -> None:
        self.table = table
        self._encoders = tuple(encoders)
        self._shapes = [encoder.shape for encoder in encoders]
        self._keys = list(
            itertools.product(sorted(set(self._shapes)), sorted(needed, key=_wide, reverse=True))
        )
        for shape, triple in self._keys:
            if (shape, triple) not in table.encoders:
                raise UserError(
                    f"the latency table has no entry for encoder shape {shape} at {label(triple)}: it "
                    "belongs to another model or other --bits; build one with `bitfront latency-table`"
                )

    @property
    def source(self) -> str:
        """Where the times come from."""
        return self.table.source

    @property
    def encoders(self) -> int:
        """How many encoders the times of a configuration are added up of."""
        return len(self._shapes)

    @property
    def noise(self) -> float:
        """Relative standard error of a latency: that of its entries and of sums; 0 where times are modelled.

        That of the entries is the median of theirs: of a configuration with one precision throughout, all of
        whose encoders err alike. Spreads of many times the latency come from other work that stopped some
        repeats; medians do not feel them, so that the error is ``MOST_NOISE`` at most.
        """
        entries = statistics.median(self.table.encoders[key].relative_error for key in self._keys)
        return min(MOST_NOISE, math.hypot(entries, self.table.sum_error))

    def latency_ms(self, config: BitConfig) -> float:
        """Milliseconds of a batch; lower is better.

        Configurations that take equally long have the same latency to the last bit; see :func:`summed`.
        """
        entries = self.table.encoders
        return summed(
            config,
            self._encoders,
            lambda shape, triple: entries[shape, triple].milliseconds,
            self.table.rest.milliseconds,
        )
