"""Refined points of runs that were made without a search: records with what refining would have brought."""

from __future__ import annotations

from pathlib import Path

from bitfront.evaluators.tasks.paired import Paired
from bitfront.evaluators.tasks.quality import Quality
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.refined import Compared, RefinedPoint, file_of, write_refined

SEARCHED, TESTED = 899, 450
FIGURES = {
    "helped": True,
    "before": {"kl": 0.3, "kl_error": 0.02, "agreement": 0.9},
    "after": {"kl": 0.1, "kl_error": 0.01, "agreement": 0.95},
    "losses": [0.2, 0.1],
    "images": 500,
    "held_out": 64,
    "seconds": 12.5,
}


def compared(before: float, gain: float, images: int) -> Compared:
    """A split on which top-1 rises by a gain."""

    def quality(top1: float) -> Quality:
        lost = round(images * (99.0 - top1) / 100)
        values = {"top1": top1, "top5": 100.0, "loss": (100 - top1) / 30, "kl": (99 - top1) / 40}
        return Quality(images, {**values, "agreement": top1}, lost, 0, 1.5)

    old, new = quality(before), quality(before + gain)
    differences = {name: Paired(new[name] - old[name], 0.4) for name in new.values}
    return Compared(old, new, differences, dict.fromkeys(new.values, 0.5))


def write_refined_point(folder: Path, name: str, trial: int, gain: float = 3.0) -> RefinedPoint:
    """Refines a trial of a run's front, as far as its folder shows it; returns the record."""
    run = RecordedRun.read(folder, name)
    row = run.front.set_index("trial").loc[trial]
    file = file_of(run.path, str(row["digest"]))
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"learned")
    point = RefinedPoint(
        trial=trial,
        digest=str(row["digest"]),
        file=file.name,
        content="0" * 64,
        images="128 that calibrate and 436 of digits that no split has",
        splits={
            "search": compared(float(row["top1"]), gain, SEARCHED),
            "test": compared(float(row["test_top1"]), gain - 1.0, TESTED),
        },
        learning={"passes": 2, "seed": 0},
        figures=FIGURES,
        bitfront="1",
    )
    write_refined(file, point)
    return point
