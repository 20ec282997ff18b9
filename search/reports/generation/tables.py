"""Tables of a run over formats: sizes, times, fidelity, prompts, components, advice, and the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.generation.bootstrap import mean_interval, paired_interval
from bitfront.evaluators.tasks.generation.task import GENERATION
from bitfront.search.export.scenarios import Scenario, recommendations
from bitfront.search.problem.wording import MISSING, megabytes, milliseconds
from bitfront.search.reports.tables import Table, markdown_page
from bitfront.search.runs.generation import GenerationRun
from bitfront.spaces.part_formats import FLOAT, FORMATS
from bitfront.spaces.quantities import count_of

FILE = "tables.md"
_MB = "MB"


def front_table(run: GenerationRun, everything: bool = True) -> Table:
    """The points of the front: what they are worth, with intervals, and cost."""
    table = Table(
        ("trial", "formats", "PSNR dB [95 %]", "SSIM", "FID", "size MB", "of float", "ms", "whole ms"), (1,)
    )
    whole = run.costs.size_bytes(dict.fromkeys(run.genes, FLOAT))
    rows = run.front if everything else run.front.head(12)
    for row in rows.to_dict("records"):
        trial = int(row["trial"])
        figures, point = run.figures(trial), run.points.get(str(trial))
        table.add(
            str(trial),
            run.config(trial).label,
            run.interval(trial).written(),
            f"{mean_interval(figures.ssim).mean:.4f}",
            _number(figures.fid, 2),
            megabytes(row["size_bytes"]),
            f"{row['size_bytes'] / whole:.0%}",
            milliseconds(row["latency_ms"]),
            MISSING if point is None else milliseconds(point.latency_ms),
        )
    return table


def uniform_trials(run: GenerationRun) -> dict[str, int]:
    """The trials that have one format everywhere, by format, the widest first."""
    found = {name: run.uniform(name) for name in reversed(run.costs.formats)}
    return {
        name: trial
        for name, trial in sorted(found.items(), key=lambda e: -FORMATS[e[0]].bits)
        if trial is not None
    }


def size_table(run: GenerationRun) -> Table:
    """Sizes by component and format: in theory, held in memory as parameters and buffers, and on the disk."""
    formats = uniform_trials(run)
    table = Table(("component", *(f"{name}\ntheory / held / disk MB" for name in formats)))
    totals = {name: [0.0, 0.0, 0.0] for name in formats}
    for part in run.parts:
        cells = []
        for name, trial in formats.items():
            point = run.points.get(str(trial))
            sizes = [run.costs.theory_bytes(part, name)]
            sizes += (
                [math.nan, math.nan]
                if point is None
                else [point.footprint.held[part], point.footprint.disk[part]]
            )
            totals[name] = [total + size for total, size in zip(totals[name], sizes, strict=True)]
            cells.append(" / ".join(_mb(size) for size in sizes))
        table.add(part, *cells)
    table.add("all", *(" / ".join(_mb(size) for size in totals[name]) for name in formats), style="bold")
    return table


def time_table(run: GenerationRun) -> Table:
    """Times by component and format, whole pictures, speed-ups, and peak memory of a fresh process."""
    formats = uniform_trials(run)
    table = Table(("ms for a picture", *formats))
    for part in run.parts:
        times = run.costs.times[part].milliseconds
        table.add(
            f"{part} ({run.costs.times[part].calls} calls)", *(milliseconds(times[name]) for name in formats)
        )
    points = {name: run.points.get(str(trial)) for name, trial in formats.items()}
    base = run.points.get(FLOAT)
    table.add(
        "whole picture", *(MISSING if p is None else milliseconds(p.latency_ms) for p in points.values())
    )
    table.add(
        "times as quick as float",
        *(
            MISSING if p is None or base is None else f"{base.latency_ms / p.latency_ms:.2f}"
            for p in points.values()
        ),
    )
    peaks = (MISSING if p is None else megabytes(p.footprint.peak) for p in points.values())
    table.add(f"peak memory of a process, {_MB}", *peaks)
    return table


def fidelity_table(run: GenerationRun) -> Table:
    """What each format everywhere is worth against float, with intervals."""
    features = run.summary.get("features") or ""
    named = f" ({features})" if features else ""
    every = {name: run.figures(trial) for name, trial in uniform_trials(run).items()}
    told = any(figures.lpips is not None for figures in every.values())
    perceptual = ("LPIPS [95 %]",) if told else ()
    columns = ("format", "PSNR dB [95 %]", "SSIM [95 %]", *perceptual, f"FID{named}", f"KID{named}")
    table = Table((*columns, "arithmetic"), (0, len(columns)))
    for name, figures in every.items():
        table.add(
            name,
            mean_interval(figures.psnr).written(),
            mean_interval(figures.ssim).written(4),
            *((mean_interval(figures.lpips).written(4) if figures.lpips else MISSING,) if told else ()),
            _number(figures.fid, 3),
            _number(figures.kid, 4),
            FORMATS[name].summary,
        )
    return table


def prompt_table(run: GenerationRun) -> Table:
    """Mean PSNR by prompt or class in each format."""
    formats = {name: trial for name, trial in uniform_trials(run).items() if name != FLOAT}
    seeds = max(1, len(run.spec["seeds"])) if not run.spec.get("photographs") else 1
    by_format = {name: run.figures(trial).psnr for name, trial in formats.items()}
    count = min((len(values) for values in by_format.values()), default=0) // seeds
    asked = [*run.spec["prompts"]] or [f"class {number}" for number in run.spec["classes"] or range(count)]
    if run.spec.get("photographs"):
        asked = [f"photograph {number}" for number in range(count)]
    table = Table(("prompt", *(f"{name} dB" for name in formats)))
    for place in range(min(count, 20)):
        rows = slice(place * seeds, (place + 1) * seeds)
        means = (sum(values[rows]) / seeds for values in by_format.values())
        table.add(
            str(asked[place])[:40] if place < len(asked) else str(place), *(f"{mean:.2f}" for mean in means)
        )
    return table


def component_table(run: GenerationRun) -> Table:
    """How critical each component is: PSNR with a format in it alone, all others as wide as can be."""
    widest = run.costs.formats[-1] if FLOAT not in run.costs.formats else FLOAT
    others = [name for name in uniform_trials(run) if name != widest]
    table = Table(("component", *(f"{name} alone, dB" for name in others), "size MB", "criticality"), (0,))
    rows, genes = run.evaluated, list(run.genes)
    found: dict[str, dict[str, float]] = {}
    for part in run.parts:
        own = [gene for gene in genes if run.costs.parts[gene] == part]
        rest = [gene for gene in genes if gene not in own]
        found[part] = {}
        for name in others:
            chosen = rows[(rows[own] == name).all(axis=1) & (rows[rest] == widest).all(axis=1)]
            if not chosen.empty:
                found[part][name] = run.interval(int(chosen.iloc[0]["trial"])).mean
    words = _criticality({part: min(values.values(), default=math.nan) for part, values in found.items()})
    for part, values in found.items():
        cells = (f"{values[name]:.2f}" if name in values else MISSING for name in others)
        table.add(part, *cells, megabytes(run.costs.part_bytes(part, widest)), words[part])
    return table


def _criticality(worst: dict[str, float]) -> dict[str, str]:
    """High for the component that loses most by its worst format, then medium, then low."""
    order = sorted(worst, key=lambda part: worst[part])
    names = ("high", "medium", *("low" for _ in order))
    return dict(zip(order, names, strict=False))


def advice_table(run: GenerationRun, scenarios: Sequence[Scenario] | None = None) -> Table:
    """What each scenario is advised, and why."""
    table = Table(("scenario", "trial", "formats", "PSNR dB [95 %]", "size MB", "ms", "why"), (0, 2, 6))
    for entry in recommendations(run, scenarios):
        chosen = entry.chosen
        cells = [MISSING] * 5
        if chosen is not None:
            cells = [str(chosen.trial), chosen.label, chosen.psnr.written()]
            cells += [megabytes(chosen.size_bytes), milliseconds(chosen.latency_ms)]
        table.add(entry.scenario.name, *cells, entry.why)
    return table


def against_uniform(run: GenerationRun) -> list[str]:
    """Sentences on what the search found beyond one format everywhere, with paired intervals."""
    told = []
    for entry in run.compared:
        best, uniform = run.figures(entry.trial), run.figures(entry.uniform)
        gain, label = paired_interval(best.psnr, uniform.psnr), run.config(entry.trial).label
        times = [milliseconds(run.points[str(t)].latency_ms) for t in (entry.trial, entry.uniform)]
        told.append(
            f"with {entry.within} than {run.config(entry.uniform).label} everywhere, trial {entry.trial} "
            f"({label}) has {gain.written()} dB more on {len(best.psnr)} pictures, {times[0]} ms against "
            f"{times[1]} ms"
        )
    return told


def all_tables(run: GenerationRun) -> list[tuple[str, Table]]:
    """Every table with its heading."""
    return [
        ("Sizes by component", size_table(run)),
        ("Times and memory", time_table(run)),
        ("Fidelity to the float pictures at equal seeds", fidelity_table(run)),
        ("PSNR by prompt", prompt_table(run)),
        ("Each component alone", component_table(run)),
        ("Front", front_table(run)),
        ("Advice", advice_table(run)),
    ]


def notes(run: GenerationRun) -> list[str]:
    """What a reader must know of the figures."""
    summary = run.summary
    features = summary.get("features")
    own = [
        f"{summary.get('pictures')} pictures, of which {summary.get('search_pictures')} were searched by; "
        f"{summary.get('steps')} steps, guidance {summary.get('guidance')}; all against the float pictures "
        "of the same seeds, of which equal ones count as 100 dB",
        f"times are of OpenVINO, on {count_of(run.spec['threads'], 'thread')}, "
        f"{count_of(int(summary.get('latency_batch') or 1), 'picture')} at a time; a block has its "
        "component's by its share of multiply-accumulates; whole ms were measured",
        str(summary.get("half_precision")),
        f"FID and KID take the features of {features}"
        if features
        else "no features are at hand: no FID and KID",
    ]
    return [*own, *against_uniform(run)]


def write_tables(run: GenerationRun) -> None:
    """Writes ``tables.md`` into the run folder."""
    page = markdown_page(f"# {run.name}: {run.summary.get('pipeline')}", all_tables(run), notes(run))
    write_atomically(run.path / FILE, page)


def front_document(run: GenerationRun) -> dict[str, Any]:
    """The front as JSON: what every point is worth and costs, and its formats by gene."""
    points = []
    for row in run.front.to_dict("records"):
        trial = int(row["trial"])
        point, found = run.points.get(str(trial)), run.interval(trial)
        points.append(
            {
                "trial": trial,
                "digest": row["digest"],
                "psnr": found.mean,
                "psnr_low": found.low,
                "psnr_high": found.high,
                "ssim": mean_interval(run.figures(trial).ssim).mean,
                "size_bytes": row["size_bytes"],
                "latency_ms": row["latency_ms"],
                "latency_measured_ms": None if point is None else point.latency_ms,
                "formats": dict(run.config(trial).formats),
            }
        )
    return {"run": run.name, "task": GENERATION.name, "interrupted": run.interrupted, "front": points}


def tables_document(run: GenerationRun) -> dict[str, Any]:
    """The tables as JSON: by heading, a list of rows by column."""

    def rows(table: Table) -> list[dict[str, str]]:
        names = [heading.replace("\n", " ") for heading in table.headings]
        return [dict(zip(names, row.cells, strict=True)) for row in table.rows]

    return {
        "run": run.name,
        "tables": {name: rows(table) for name, table in all_tables(run)},
        "notes": notes(run),
    }


def _number(value: float | None, decimals: int) -> str:
    return MISSING if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def _mb(size: float) -> str:
    return MISSING if math.isnan(size) else megabytes(size)
