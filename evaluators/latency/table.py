"""Latency tables: milliseconds of each encoder shape at each precision, and their sum for a configuration."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bitfront.evaluators.models.blueprint import Blueprint, EncoderParts
from bitfront.spaces import BitConfig, EncoderBits, SearchSpace, Triple, UserError, triples

SINGLE_PARTS = ("rest", "float_model")
COLUMNS = (
    "part",
    "shape",
    "weights",
    "activations",
    "attention",
    "milliseconds",
    "spread_percent",
    "batch",
    "source",
)


def encoder_shape(encoder: EncoderParts) -> str:
    """The encoder's shape as text: tokens, channels, heads and hidden channels, such as ``197x192h3m768``.

    Windowed attention adds the tokens of a window, and ``s`` for shifted ones: ``3136x96h3m384w49s``.
    """
    hidden = encoder.fc1.weight.shape[0]
    shape = f"{encoder.tokens}x{encoder.channels}h{encoder.heads}m{hidden}"
    if encoder.window is None:
        return shape
    return f"{shape}w{encoder.window.rows.shape[1]}{'' if encoder.window.mask is None else 's'}"


@dataclass(frozen=True)
class Entry:
    """One time: milliseconds for a batch, and the relative range of its repeats in percent."""

    milliseconds: float
    spread_percent: float = 0.0


@dataclass(frozen=True)
class LatencyTable:
    """Times of a model's parts; lower is better.

    Attributes:
        encoders: Time of an encoder by (shape, (weights, activations, attention)).
        rest: Time of everything outside the encoders, quantized.
        float_model: Time of the whole float model.
        batch: Images of a batch; every time is for one batch.
        source: Where the times come from, such as ``measured:torch`` or ``model:bops``.
    """

    encoders: Mapping[tuple[str, Triple], Entry]
    rest: Entry
    float_model: Entry
    batch: int
    source: str

    def to_csv(self) -> str:
        """The table as CSV text with the columns of :data:`COLUMNS`."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        for (shape, triple), entry in sorted(self.encoders.items()):
            writer.writerow(["encoder", shape, *triple, *self._cells(entry)])
        writer.writerow(["rest", "", "", "", "", *self._cells(self.rest)])
        writer.writerow(["float_model", "", "", "", "", *self._cells(self.float_model)])
        return buffer.getvalue()

    def _cells(self, entry: Entry) -> list[str]:
        return [repr(entry.milliseconds), f"{entry.spread_percent:.3g}", str(self.batch), self.source]

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        """Reads a table.

        Raises:
            UserError: The file is missing or a row is not understood; the row is named.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                rows = [(reader.line_num, row) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"latency table {path} cannot be read ({error}): give a CSV file") from error
        encoders: dict[tuple[str, Triple], Entry] = {}
        single: dict[str, Entry] = {}
        batches: set[int] = set()
        sources: set[str] = set()
        for number, row in rows:
            try:
                entry = Entry(_positive(row["milliseconds"]), float(row.get("spread_percent") or 0.0))
                batches.add(_batch(row["batch"]))
                sources.add(row.get("source") or "unnamed")
                if row["part"] == "encoder":
                    bits = (int(row["weights"]), int(row["activations"]), int(row["attention"]))
                    encoders[row["shape"], bits] = entry
                elif row["part"] in SINGLE_PARTS:
                    single[row["part"]] = entry
                else:
                    raise ValueError(f"part {row['part']!r} is unknown")
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"latency table {path}, line {number}: {error}; expected columns {','.join(COLUMNS)}"
                ) from error
        missing = [] if encoders else ["encoder"]
        missing += [part for part in SINGLE_PARTS if part not in single]
        if missing or not encoders or len(batches) != 1:
            raise UserError(
                f"latency table {path} needs rows encoder, rest and float_model, all of one batch size; "
                f"missing: {', '.join(missing) or 'none'}, batch sizes: {sorted(batches)}"
            )
        source = ", ".join(sorted(sources))
        return cls(encoders, single["rest"], single["float_model"], batches.pop(), source)


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{text!r} is not a positive time")
    return value


def _batch(text: str) -> int:
    images = int(text)
    if images < 1:
        raise ValueError(f"batch {text} is below 1")
    return images


class TableLatency:
    """Latency of a model's configurations as the sum of a table's entries.

    An encoder whose layers differ in width (space ``layer``) takes the mean of the entries of its layers'
    widths, weighted by the layers' multiply-accumulates.

    Args:
        table: The times.
        blueprint: The model.
        needed: Precisions that will be asked for.

    Raises:
        UserError: The table lacks an encoder shape or precision of the model.
    """

    def __init__(self, table: LatencyTable, blueprint: Blueprint, needed: Iterable[Triple]) -> None:
        self.table = table
        self._shapes = [encoder_shape(encoder) for encoder in blueprint.encoders]
        self._shares = [_mac_shares(encoder) for encoder in blueprint.encoders]
        for shape, triple in itertools.product(sorted(set(self._shapes)), sorted(needed, reverse=True)):
            if (shape, triple) not in table.encoders:
                w, a, t = triple
                raise UserError(
                    f"the latency table has no entry for encoder shape {shape} at W{w}A{a}T{t}: it "
                    "belongs to another model or other --bits; measure one with --latency measured"
                )

    @property
    def source(self) -> str:
        """Where the times come from."""
        return self.table.source

    def latency_ms(self, config: BitConfig) -> float:
        """Milliseconds of a batch; lower is better."""
        return self.table.rest.milliseconds + sum(self._encoder_ms(bits) for bits in config.encoders)

    def minimum_latency_ms(self, space: SearchSpace) -> float:
        """The least time of any configuration of the space: every encoder at its quickest precision."""
        uniform = space.granularity == "encoder"
        choices = [(width, width, width) for width in space.widths] if uniform else triples(space.widths)
        return self.table.rest.milliseconds + sum(
            min(self.table.encoders[shape, triple].milliseconds for triple in choices)
            for shape in self._shapes
        )

    def _encoder_ms(self, bits: EncoderBits) -> float:
        shape = self._shapes[bits.index]
        return sum(
            share
            * self.table.encoders[
                shape, (bits.bits("weights", layer), bits.bits("activations", layer), bits.attention)
            ].milliseconds
            for layer, share in self._shares[bits.index].items()
        )


def _mac_shares(encoder: EncoderParts) -> dict[str, float]:
    sizes = {layer: parts.weight.numel() for layer, parts in encoder.linear().items()}
    return {layer: size / sum(sizes.values()) for layer, size in sizes.items()}
