"""What the figures of a benchmark say, in sentences computed from them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from bitfront.spaces import FormatName, Triple

if TYPE_CHECKING:
    from bitfront.evaluators.latency.bench.measuring import Measured

Pair = tuple["Measured", "Measured"]
EAGER = "PyTorch eager float32"
TIME = attrgetter("p50_ms")
# Repeats further apart than this, in percent, are noise.
NOISY_PERCENT = 10.0


def reference_of(rows: Sequence[Measured]) -> dict[int, Measured]:
    """By batch, the model in torch and float32, to which everything is compared."""
    return {
        row.batch: row
        for row in rows
        if row.label.runtime == "torch" and row.label.kind == "float32" and not row.label.baseline
    }


def findings(rows: Sequence[Measured]) -> list[str]:
    """Sentences about the model, batch by batch, then about all batches."""
    found: list[str] = []
    for batch in sorted({row.batch for row in rows}):
        here = [row for row in rows if row.batch == batch]
        own = [row for row in here if not row.label.baseline]
        sentences = [
            *_quickest(own),
            *_against_bfloat16(own),
            *_narrower_weights(own),
            *_narrower_activations(own),
            *_dynamic(own),
            *_baselines(here),
            *_noise(here),
        ]
        found += [f"batch {batch}: {sentence}" for sentence in sentences]
    return found + list(_integer_kernels(rows))


def change(row: Measured, against: Measured) -> str:
    """How much longer or shorter it takes, such as ``3.1 % quicker``.

    The repeats of both ran at the same time, in turn: only where each of them points the same way is it taken
    for a difference.
    """
    percent = _percent(row.p50_ms, against.p50_ms)
    single = [_percent(*medians) for medians in zip(row.medians_ms, against.medians_ms, strict=True)]
    if min(single) > 0 or max(single) < 0:
        return f"{abs(percent):.1f} % {'slower' if percent > 0 else 'quicker'}"
    repeats = f"single repeats {min(single):+.1f} to {max(single):+.1f} %"
    return f"the same within the noise ({percent:+.1f} %; {repeats})"


def _percent(milliseconds: float, against: float) -> float:
    return 100.0 * (milliseconds / against - 1.0)


def _quickest(own: Sequence[Measured]) -> Iterator[str]:
    best = min(own, key=TIME)
    eager = reference_of(own)[best.batch]
    times: dict[str, Measured] = {}
    for row in sorted(own, key=TIME):
        times.setdefault(row.label.runtime, row)
    each = ", ".join(f"{name} {row.p50_ms:.4g} ms ({row.label.short})" for name, row in times.items())
    yield (
        f"{best.label.short} in {best.label.runtime} is quickest, {eager.p50_ms / best.p50_ms:.2f} times as "
        f"quick as {EAGER}; the best of each runtime: {each}"
    )


def _against_bfloat16(own: Sequence[Measured]) -> Iterator[str]:
    """The quickest configuration of 8 bits against the quickest bfloat16, by the precision of the rest."""
    floats = [row for row in own if row.label.kind == "bfloat16"]
    eights = [row for row in own if row.label.bits == (8, 8, 8)]
    if not floats or not eights:
        return
    whole = min(floats, key=TIME)
    for rest, words in (("f32", "float32"), ("bf16", "bfloat16")):
        candidates = [row for row in eights if row.label.rest == rest]
        if candidates:
            best = min(candidates, key=TIME)
            yield (
                f"INT8 with the rest in {words} ({best.p50_ms:.4g} ms in {best.label.runtime}) against "
                f"bfloat16 ({whole.p50_ms:.4g} ms in {whole.label.runtime}): {change(best, whole)}"
            )


def _narrower_weights(own: Sequence[Measured]) -> Iterator[str]:
    for name, pairs in _pairs(own, lambda bits, wide: _narrower(bits[0], wide[0]) and bits[1:] == wide[1:]):
        sizes = [100.0 * (narrow.file_bytes / wide.file_bytes - 1.0) for narrow, wide in pairs]
        least, most = f"{min(sizes):+.0f}", f"{max(sizes):+.0f}"
        files = f"{least} %" if least == most else f"{least} to {most} %"
        yield f"{name}: {_changes(pairs)}; files change by {files}"


def _narrower_activations(own: Sequence[Measured]) -> Iterator[str]:
    eights = (8, 8)
    for name, pairs in _pairs(own, lambda bits, wide: bits[0] == wide[0] and wide[1:] == eights != bits[1:]):
        yield f"{name}: {_changes(pairs)}"


def _pairs(
    own: Sequence[Measured], related: Callable[[Triple, Triple], bool]
) -> Iterable[tuple[str, list[Pair]]]:
    """Pairs of related uniform configurations in the same runtime, by their names."""
    groups = defaultdict[str, list[Pair]](list)
    for row, other in itertools.product(own, own):
        alike = (row.label.runtime, row.label.rest) == (other.label.runtime, other.label.rest)
        bits, wide = row.label.bits, other.label.bits
        if alike and bits is not None and wide is not None and related(bits, wide):
            groups[f"{row.label.variant} against {other.label.variant}"].append((row, other))
    return groups.items()


def _narrower(value: FormatName, wide: FormatName) -> bool:
    """Whether plain integers are of fewer bits than 8-bit ones."""
    return isinstance(value, int) and value < 8 == wide


def _changes(pairs: Sequence[Pair]) -> str:
    return ", ".join(
        f"in {row.label.runtime}{' with the rest in bf16' * (row.label.rest == 'bf16')} {change(row, wide)}"
        for row, wide in pairs
    )


def _dynamic(own: Sequence[Measured]) -> Iterator[str]:
    for row in own:
        if row.label.kind == "dynamic":
            eager = reference_of(own)[row.batch]
            yield f"torch's dynamic INT8 against {EAGER}: {change(row, eager)}"


def _baselines(here: Sequence[Measured]) -> Iterator[str]:
    own = min((row for row in here if not row.label.baseline), key=TIME)
    for name in dict.fromkeys(row.label.model for row in here if row.label.baseline):
        rows = [row for row in here if row.label.model == name]
        best = min(rows, key=TIME)
        sentence = (
            f"{name} takes {best.p50_ms:.4g} ms at best ({best.label.variant} in {best.label.runtime}), "
            f"{best.p50_ms / own.p50_ms:.2f} times as long as the quickest {own.label.model}"
        )
        changes = [
            f"in {row.label.runtime} {change(row, whole)}"
            for row in rows
            for whole in rows
            if row.label.kind == "quantized"
            and whole.label.kind == "float32"
            and whole.label.runtime == row.label.runtime
        ]
        yield f"{sentence}; its INT8 against its float32: {', '.join(changes)}" if changes else sentence


def _noise(here: Sequence[Measured]) -> Iterator[str]:
    worst = max(here, key=lambda row: row.spread_percent)
    if worst.spread_percent > NOISY_PERCENT:
        yield (
            f"repeats differ by up to {worst.spread_percent:.0f} % ({worst.label.short} in "
            f"{worst.label.runtime}): the machine was busy; measure again with nothing else running"
        )


def _integer_kernels(rows: Sequence[Measured]) -> Iterator[str]:
    """How much of what is quantized runs on integers, by runtime."""
    quantized = [row for row in rows if row.label.kind == "quantized"]
    for runtime in dict.fromkeys(row.label.runtime for row in quantized):
        here = [row for row in quantized if row.label.runtime == runtime]
        short = {
            f"{row.label.short} ({row.products.on_integers} of {row.products.total})": None
            for row in here
            if row.products.on_integers < row.products.total
        }
        if short:
            yield f"{runtime} computes part of the matrix products in float: {', '.join(short)}"
        else:
            yield f"{runtime} computes every matrix product of every quantized model on integers"
