"""What searches are measured against: the true front or the best known one, and the boxes around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitfront.search.archive import Archive, Point
from bitfront.search.hypervolume import HypervolumeBox
from bitfront.search.objectives import Objective
from bitfront.search.problem import SearchProblem
from bitfront.search.trial import Trial

FIXED, TIGHT = "fixed", "tight"


@dataclass(frozen=True)
class Goal:
    """The front that searches approach, and its hypervolumes.

    Attributes:
        true: Whether it is the front of the whole space, not that of all searches together.
        front: Its points in minimisation form.
        boxes: The problem's fixed box, and where the front spans one, the tight box from its best values
            (ideal) to its worst (nadir).
        hypervolumes: Share of each box that the front dominates.
    """

    true: bool
    front: tuple[Point, ...]
    boxes: dict[str, HypervolumeBox]
    hypervolumes: dict[str, float]

    @classmethod
    def of(cls, problem: SearchProblem, trials: Iterable[Trial], true: bool) -> Goal:
        """The goal that the feasible ones of some trials make.

        Args:
            problem: What is searched.
            trials: All configurations, or those of all searches.
            true: Whether they are all configurations.
        """
        archive = Archive(problem.objectives)
        for trial in trials:
            archive.add(trial)
        front = archive.front_points
        boxes = {FIXED: problem.box}
        if len(front) > 1:
            boxes |= _tight(problem.box, front)
        found = {name: box.share(front) for name, box in boxes.items()}
        filled = {name: share for name, share in found.items() if share > 0.0}
        return cls(true, front, {name: boxes[name] for name in filled}, filled)

    @property
    def name(self) -> str:
        """What it is called."""
        return "the true front" if self.true else "the front of all searches together"

    def to_json(self, objectives: Sequence[Objective]) -> dict[str, Any]:
        """The goal's corners in the objectives' own directions, and its hypervolumes."""
        return {
            "front": self.name,
            "points": len(self.front),
            "boxes": {
                name: {
                    "ideal_point": _corner(box.ideal, objectives),
                    "reference_point": _corner(box.reference, objectives),
                    "hypervolume": self.hypervolumes[name],
                }
                for name, box in self.boxes.items()
            },
        }


def _tight(box: HypervolumeBox, front: Sequence[Point]) -> dict[str, HypervolumeBox]:
    """The box from the best to the worst value of each objective; none where one has a single value."""
    points = np.array(front)
    ideal, nadir = points.min(axis=0), points.max(axis=0)
    if (ideal >= nadir).any():
        return {}
    return {TIGHT: HypervolumeBox(box.objectives, tuple(ideal.tolist()), tuple(nadir.tolist()))}


def _corner(corner: Point, objectives: Sequence[Objective]) -> dict[str, float]:
    pairs = zip(objectives, corner, strict=True)
    return {o.column: 0.0 - value if o.direction == "maximise" else value for o, value in pairs}
