"""What is measured of a finished front of formats: all pictures, whole times, footprints, a contact sheet."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.generation.costs import picture_times
from bitfront.evaluators.generation.footprint import footprint
from bitfront.evaluators.generation.workbench import PictureFigures, Workbench
from bitfront.evaluators.latency.timed_runtime import TimingProtocol
from bitfront.evaluators.progress import ShareDone
from bitfront.search.engine.result import SearchResult
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.folder import RunFolder
from bitfront.search.runs.generation import COMPARED, POINTS, SHEET, Compared
from bitfront.search.runs.tables import FinalMeasurement, RunTables
from bitfront.spaces.part_formats import FLOAT, INTEGER, FormatConfig, FormatSpace

Stage = Callable[[str], AbstractContextManager[ShareDone]]
Measure = Callable[[Workbench, FormatConfig], PictureFigures]
# Points of the front that are measured as wholes, evenly spread over it, and pictures of a contact sheet.
MOST_POINTS, COLUMNS = 8, 8
# Share of further bytes that a point may have beside one format everywhere.
FEW_MORE = 0.1
PROTOCOL = TimingProtocol(warmup=1, iterations=10, repeats=3, budget_seconds=20.0)


def measure_points(
    bench: Workbench,
    space: FormatSpace,
    result: SearchResult,
    folder: RunFolder,
    tables: RunTables,
    stage: Stage,
    measure: Measure,
) -> None:
    """Measures each format everywhere and some points of the front, and writes what was found.

    Args:
        bench: With all pictures.
        space: Of the assignments.
        result: Of the search.
        folder: Where ``points.json`` and the pictures of the contact sheet go.
        tables: Are written again with what was measured.
        stage: Tells of a step.
        measure: Figures of an assignment; kept once they are made.
    """
    compared = compared_with(space, result)
    chosen = chosen_points(space, result, compared)
    configs = {trial.number: space.decode(np.array(trial.genome)) for trial in chosen}
    if bench.jobs and len(bench.jobs) != len(bench.reference):
        with stage(f"making {len(bench.jobs)} float pictures"):
            bench.refer_to(bench.jobs)
    figures: dict[int, PictureFigures] = {}
    with stage(f"comparing all {len(bench.jobs)} pictures of {len(configs)} points") as told:
        for place, (number, config) in enumerate(configs.items(), start=1):
            figures[number] = measure(bench, config)
            told(place / len(configs))
    labels = {number: str(number) for number in configs}
    assignments = {labels[number]: dict(config.formats) for number, config in configs.items()}
    assignments[FLOAT] = bench.everywhere(FLOAT)
    with stage("timing whole pictures") as told:
        times = picture_times(bench, assignments, PROTOCOL, told)
    points: dict[str, Any] = {}
    with stage("memory of fresh processes") as told:
        for place, (label, formats) in enumerate(assignments.items(), start=1):
            points[label] = {"latency_ms": times[label], **footprint(bench, formats).to_json()}
            told(place / len(assignments))
    for number, found in figures.items():
        points[labels[number]] |= {"digest": configs[number].digest, "figures": found.to_json()}
    folder.write_json(POINTS, points)
    folder.write_json(COMPARED, [dataclasses.asdict(entry) for entry in compared])
    _write_sheet(bench, configs, folder)
    final = {
        number: FinalMeasurement(times[labels[number]], found.quality()) for number, found in figures.items()
    }
    tables.write(result.trials, result.front, final)


def chosen_points(space: FormatSpace, result: SearchResult, compared: Sequence[Compared] = ()) -> list[Trial]:
    """Each format everywhere, points of the front, evenly spread, and those that are compared."""
    uniform = {space.uniform(name) for name in space.widths}
    rivals = {entry.trial for entry in compared}
    complete = [trial for trial in result.trials if trial.state == "complete"]
    front = [trial for trial in result.front if trial.genome not in uniform]
    spread = np.linspace(0, len(front) - 1, min(len(front), MOST_POINTS)).round().astype(int)
    wanted = {front[place].number for place in spread.tolist()} | rivals
    everywhere = [trial for trial in complete if trial.genome in uniform]
    return [*everywhere, *(t for t in complete if t.number in wanted and t.genome not in uniform)]


def compared_with(space: FormatSpace, result: SearchResult, name: str = INTEGER) -> list[Compared]:
    """The points of the best PSNR with no more bytes, and with little more of both, than one format.

    Points that are no better than it are left out; so is a point that another rule has found.
    """
    complete = [trial for trial in result.trials if trial.state == "complete"]
    genome = space.uniform(name) if name in space.widths else ()
    whole = next((trial for trial in complete if trial.genome == genome), None)
    if whole is None:
        return []
    size, latency = (whole.values[column] for column in ("size_bytes", "latency_ms"))
    rules = {
        "no more bytes": lambda t: t.values["size_bytes"] <= size,
        f"at most {FEW_MORE:.0%} more bytes and time": lambda t: (
            t.values["size_bytes"] <= (1.0 + FEW_MORE) * size
            and t.values["latency_ms"] <= (1.0 + FEW_MORE) * latency
        ),
    }
    found: dict[int, Compared] = {}
    for within, rule in rules.items():
        best = max(filter(rule, complete), key=lambda t: t.values["psnr"])
        if best.values["psnr"] > whole.values["psnr"]:
            found.setdefault(best.number, Compared(best.number, whole.number, within))
    return list(found.values())


def _write_sheet(bench: Workbench, configs: Mapping[int, FormatConfig], folder: RunFolder) -> None:
    """Writes some pictures of every point, uint8 ``[pictures, channels, height, width]``, by trial."""
    spread = np.linspace(0, len(bench.jobs) - 1, min(len(bench.jobs), COLUMNS)).round().astype(int)
    jobs = [bench.jobs[place] for place in dict.fromkeys(spread.tolist())]

    def pictures(formats: Mapping[str, str]) -> Any:
        made = bench.pictures(formats, jobs)
        return (made * 255.0).round().byte().numpy()

    arrays = {FLOAT: pictures(bench.everywhere(FLOAT))}
    arrays |= {str(number): pictures(dict(config.formats)) for number, config in configs.items()}
    arrays["labels"] = np.array([f"{job.prompt[:24]}\nseed {job.seed}" for job in jobs], dtype=np.str_)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(folder.path / SHEET, content.getvalue())
