"""What a refinement came to: what was kept, and what it was worth before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.search.runs.refined import RefinedPoint
from bitfront.spaces import BitConfig


@dataclass(frozen=True)
class Refinement:
    """A refined configuration, or one that refining did not help.

    Attributes:
        run: Name of the run; None where it is of none.
        trial: Number of the trial; None where it is of no run.
        config: The configuration, whose bits are what they were.
        path: What was learned; None where it was not kept.
        bit_config: The bit config that names it; None where it is of a run, which exports it, or was not
            kept.
        point: What it was worth before and after on the search and the test split, and what it learned from.
        metric: Name of the metric that refining must not make worse.
        task: What outputs are judged by.
        why: Why it was not kept, in a sentence; empty where it was.
    """

    run: str | None
    trial: int | None
    config: BitConfig
    path: Path | None
    bit_config: Path | None
    point: RefinedPoint
    metric: str
    task: str
    why: str

    @property
    def helped(self) -> bool:
        """Whether it was kept."""
        return self.path is not None

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        splits = {name: compared.to_json() for name, compared in self.point.splits.items()}
        for compared in splits.values():
            for side in ("before", "after"):
                compared[side].pop("right", None)
        return {
            "run": self.run,
            "trial": self.trial,
            "digest": self.config.digest,
            "helped": self.helped,
            "why": self.why or None,
            "path": self.path,
            "bit_config": self.bit_config,
            "images": self.point.images,
            "metric": self.metric,
            **splits,
            "learning": dict(self.point.learning),
            "figures": dict(self.point.figures),
        }
