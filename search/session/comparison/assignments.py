"""The assignments that a comparison lines up for a model, and what they are worth on the test images.

Differences are paired by image: of the searched assignment, or the mean of those of several seeds, to the
uniform 8-bit one and to the mean of the stochastic ones. Their standard error is that over images; how far
stochastic assignments lie apart is said on its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.tasks.quality import Quality, unpacked
from bitfront.search.problem.problem import Candidate, SearchProblem
from bitfront.search.problem.references import FLOAT_NAME, Reference
from bitfront.search.problem.trial import Trial
from bitfront.search.session.comparison.generations import Mark
from bitfront.spaces import BitConfig

Document = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SearchedModel:
    """What one search ended with, and what is lined up beside it.

    Attributes:
        seed: Of the search.
        run: Name of its run in the comparison's folder.
        evaluations: So many were spent.
        front_points: Points of its front.
        pick: The chosen point.
        draws: Stochastic assignments of equal size.
        marks: Where it stood after some generations.
    """

    seed: int
    run: str
    evaluations: int
    front_points: int
    pick: Trial
    draws: tuple[Candidate, ...]
    marks: tuple[Mark, ...]

    def configs(self, problem: SearchProblem) -> list[BitConfig]:
        """All configurations that are evaluated on the test images, the chosen one first."""
        best = [mark.best for mark in self.marks if mark.best is not None]
        trials = [decoded(problem, trial) for trial in (self.pick, *best)]
        return [*trials, *(candidate.config for candidate in self.draws)]


def decoded(problem: SearchProblem, trial: Trial) -> BitConfig:
    """The configuration of a trial."""
    return problem.space.decode(np.array(trial.genome, dtype=np.int64))


@dataclass(frozen=True)
class LinedUp:
    """The figures of a comparison, as far as the test images are evaluated.

    Attributes:
        problem: What was searched.
        metric: The share of images decided right, by which models are compared in pairs.
        eight_bit: The uniform 8-bit model.
        tested: Quality on the test images by digest, that of the float model under its name.
    """

    problem: SearchProblem
    metric: str
    eight_bit: BitConfig
    tested: Mapping[str, Quality]

    def reference(self, model: Reference, digest: str) -> Document:
        """The figures of the float or of the uniform 8-bit model."""
        return {
            "digest": digest,
            "test": self._value(digest),
            "search": model.values.get(self.metric),
            "latency_ms": model.latency_ms,
            "size_bytes": model.size_bytes,
        }

    def search(self, searched: SearchedModel) -> Document:
        """The figures of one search: what it ended with, the draws beside it, and where it stood before."""
        return {
            "seed": searched.seed,
            "run": searched.run,
            "evaluations": searched.evaluations,
            "front_points": searched.front_points,
            **self._trial(searched.pick),
            "bits": bits_of(decoded(self.problem, searched.pick)),
            "draws": [self._draw(draw) for draw in searched.draws],
            "generations": [self._mark(mark) for mark in searched.marks],
        }

    def _trial(self, trial: Trial) -> Document:
        return {
            "trial": trial.number,
            "digest": trial.digest,
            "test": self._value(trial.digest),
            "search": trial.values[self.metric],
            "latency_ms": trial.values["latency_ms"],
            "size_bytes": trial.values["size_bytes"],
        }

    def _draw(self, draw: Candidate) -> Document:
        return {
            "digest": draw.digest,
            "test": self._value(draw.digest),
            **draw.values,
            "bits": bits_of(draw.config),
        }

    def _mark(self, mark: Mark) -> Document:
        found = None if mark.best is None else self._trial(mark.best)
        return {
            "generations": mark.generations,
            "evaluations": mark.evaluations,
            "hypervolume_share": mark.hypervolume_share,
            "best": found,
        }

    def differences(self, searches: Sequence[SearchedModel]) -> Document:
        """Paired differences on the test images, in points: of the search, and of the others to float."""
        float_model, eight = self._right([FLOAT_NAME]), self._right([self.eight_bit.digest])
        picks = self._right([searched.pick.digest for searched in searches])
        draws = self._mean(self._right([d.digest for d in searched.draws]) for searched in searches)
        found = {
            "search_to_eight_bit": difference(picks, eight),
            "search_to_stochastic": difference(picks, draws),
            "stochastic_to_eight_bit": difference(draws, eight),
            "eight_bit_to_float": difference(eight, float_model),
            "search_to_float": difference(picks, float_model),
        }
        return {name: value for name, value in found.items() if value is not None}

    def _value(self, digest: str) -> float | None:
        quality = self.tested.get(digest)
        return None if quality is None else quality.values.get(self.metric)

    def _right(self, digests: Sequence[str]) -> Floats | None:
        """The share of some configurations that decide each image right, ``[images]``; None if unknown."""
        known = [self.tested.get(digest) for digest in digests]
        flags = [unpacked(one.right, one.images) for one in known if one is not None and one.right]
        return np.mean(flags, axis=0) if flags and len(flags) == len(known) else None

    @staticmethod
    def _mean(parts: Iterable[Floats | None]) -> Floats | None:
        found = list(parts)
        known = [part for part in found if part is not None]
        return np.mean(known, axis=0) if known and len(known) == len(found) else None


def difference(one: Floats | None, other: Floats | None) -> Document | None:
    """The mean difference of two shares by image ``[images]`` in points, and its paired standard error."""
    if one is None or other is None:
        return None
    apart = one - other
    return {
        "value": 100.0 * float(apart.mean()),
        "error": 100.0 * float(apart.std()) / math.sqrt(len(apart)),
        "images": len(apart),
    }


def bits_of(config: BitConfig) -> list[list[Any]]:
    """Bits of weights, activations and attention of every encoder, which all its layers share."""
    return [[encoder.weights, encoder.activations, encoder.attention] for encoder in config.encoders]
