"""Evaluations of an earlier run that a new one begins with: read from that one, kept in this one's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitfront.evaluators.files import parsed_json
from bitfront.evaluators.tasks.quality import EXPECTED_DIFFERENCE, Quality
from bitfront.search.problem.objectives import ANALYTIC, parse_objectives
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.files import damaged_file
from bitfront.search.runs.folder import RunFolder, read_space
from bitfront.search.runs.study_reader import recorded_trials
from bitfront.spaces import BitConfig, UserError

KNOWN = "known_evaluations.jsonl"
_COUNTS = ("images", "lost", "won")


@dataclass(frozen=True)
class KnownEvaluation:
    """What a configuration is worth on the search split, or on a part of it."""

    config: BitConfig
    quality: Quality


def evaluations_of(folder: Path, spec: RunSpec) -> list[KnownEvaluation]:
    """The evaluations of a run in the order of asking, those that failed left out.

    Args:
        folder: The run folder.
        spec: The run's.

    Raises:
        UserError: Its study or its space cannot be read.
    """
    space, objectives = read_space(folder), parse_objectives(spec.objectives, spec.evaluation.task)
    return [
        KnownEvaluation(space.decode(np.array(trial.genome, dtype=np.int64)), _quality(trial))
        for trial in recorded_trials(folder, space, objectives)
        if trial.state in ("complete", "screened")
    ]


def _quality(trial: Trial) -> Quality:
    images, lost, won = (int(trial.values[name]) for name in _COUNTS)
    others = (*ANALYTIC, *_COUNTS, EXPECTED_DIFFERENCE)
    values = {name: float(value) for name, value in trial.values.items() if name not in others}
    expected = trial.values.get(EXPECTED_DIFFERENCE)
    return Quality(images, values, lost, won, 0.0, trial.right, expected)


def write_known(folder: RunFolder, evaluations: Sequence[KnownEvaluation]) -> None:
    """Writes evaluations into a run folder, one to a line."""
    lines = [
        json.dumps({"config": known.config.to_json({}, {}), "quality": known.quality.to_json()})
        for known in evaluations
    ]
    folder.write_text(KNOWN, "".join(f"{line}\n" for line in lines))


def read_known(folder: Path) -> tuple[KnownEvaluation, ...]:
    """The evaluations that a run began with; none where it began with nothing.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / KNOWN
    if not path.exists():
        return ()
    try:
        documents = map(parsed_json, path.read_text(encoding="utf-8").splitlines())
        return tuple(
            KnownEvaluation(BitConfig.from_json(document["config"]), Quality.from_json(document["quality"]))
            for document in documents
        )
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError, UserError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error
