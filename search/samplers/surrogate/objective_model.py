"""What a genome's evaluation would tell, foreseen from those that were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.samplers.surrogate.gaussian_process import GaussianProcess, Prediction
from bitfront.spaces.genomes import narrow_choices, narrowed

Array = NDArray[np.float64]
Genomes = NDArray[np.int64]
_Value = Callable[[Mapping[str, float]], float]
_Worst = Callable[[Array], float]
_Foreseen = tuple[_Value, _Worst]
# A divergence below this is rounding.
LEAST_KL = 1e-6
# Sum of the features' squares: genomes that differ in half of what matters are 1 apart.
FEATURE_SQUARES = 2.0
# Relevance grows with this power of the score: scores of single genes say little of what joins them.
TEMPER = 0.5


class PriorScores(Protocol):
    """Sensitivities that are known before any evaluation."""

    @property
    def additive(self) -> Array:
        """Divergence in nats of each gene alone at each choice, ``[genes, choices]``; 0 at the widest.

        NaN where a gene has fewer choices than another.
        """

    def predicted_kl(self, genomes: Genomes) -> Array:
        """Divergence in nats of genomes ``[count, genes]`` from the widest, ``[count]``."""


class ObjectiveModel:
    """Gaussian processes of the divergence and, given that, of each objective or limit that is evaluated.

    The divergence from the float logits is finer than top-1, which counts images, and nearly a sum over genes
    (the gradient scores are its expansion to second order); so the processes for top-1 and loss have it in
    their means, and learn what it does not tell.

    Args:
        problem: Space, objectives and limits.
        scores: Sensitivities of the genes; None where there are none.
    """

    def __init__(self, problem: SearchProblem, scores: PriorScores | None) -> None:
        self._sizes = problem.space.sizes
        self._scores = scores
        # By name, the column of an objective or what a limit is compared with: where it is in a trial's
        # values, and what stands for candidates that failed, the worst that was seen.
        self._foreseen: dict[str, _Foreseen] = {
            limit.bound: (limit.deciding, np.max if limit.side == "at most" else np.min)
            for limit in problem.limits
            if not limit.analytic
        } | {
            objective.column: (objective.deciding, np.min if objective.direction == "maximise" else np.max)
            for objective in problem.objectives
            if not objective.analytic
        }
        narrow = narrow_choices(self._sizes)
        count = int(narrow.sum())
        alone = np.ones(count) if scores is None else scores.additive[:, :-1][narrow]
        relevance = np.maximum(alone, 0.0) ** TEMPER
        relevance = np.maximum(relevance, 0.02 * relevance.max()) if relevance.max() > 0 else np.ones(count)
        self._scale = np.sqrt(FEATURE_SQUARES * relevance / relevance.sum())
        self._distance = problem.task.distance
        self._least_kl = LEAST_KL
        self._divergence: GaussianProcess | None = None
        self._processes: dict[str, GaussianProcess] = {}

    def fit(self, trials: Sequence[Trial]) -> None:
        """Learns from evaluated trials; failed ones count as the worst that was seen."""
        seen = [trial for trial in trials if trial.state in ("complete", "screened")]
        failed = [trial for trial in trials if trial.state == "failed"]
        genomes = np.array([trial.genome for trial in (*seen, *failed)], dtype=np.int64)
        kl = np.maximum(_column(seen, itemgetter(self._distance), len(failed), np.max), LEAST_KL)
        # The scores know nothing of what remains where every width is the widest.
        self._least_kl = float(kl.min())
        features, prior = self._features(genomes), self._prior(genomes)
        self._divergence = GaussianProcess(features, prior, np.log(kl))
        basis = _divergence_terms(np.log(kl))
        for name, (value, worst) in self._foreseen.items():
            if name != self._distance:
                values = _column(seen, value, len(failed), worst)
                self._processes[name] = GaussianProcess(features, basis, values)

    def mean(self, genomes: Genomes) -> dict[str, Array]:
        """Expected values by column or limit, ``[count]`` each, in its own direction."""
        assert self._divergence is not None, "fit() comes first"
        features = self._features(genomes)
        divergence = self._divergence.mean(features, self._prior(genomes))
        return {
            name: np.exp(divergence)
            if name == self._distance
            else self._processes[name].mean(features, _divergence_terms(divergence))
            for name in self._foreseen
        }

    def predict(self, genomes: Genomes) -> dict[str, Prediction]:
        """Expected values and their standard deviations by column or limit, in its own direction."""
        assert self._divergence is not None, "fit() comes first"
        features = self._features(genomes)
        divergence = self._divergence.predict(features, self._prior(genomes))
        found: dict[str, Prediction] = {}
        for name in self._foreseen:
            if name == self._distance:
                mean = np.exp(divergence.mean)
                found[name] = Prediction(mean, mean * divergence.std)
                continue
            process = self._processes[name]
            here = process.predict(features, _divergence_terms(divergence.mean))
            above, below = (
                process.mean(features, _divergence_terms(divergence.mean + shift))
                for shift in (divergence.std, -divergence.std)
            )
            slope = 0.5 * (above - below)
            found[name] = Prediction(here.mean, np.hypot(here.std, slope))
        return found

    def _features(self, genomes: Genomes) -> Array:
        """One column for each gene and each choice but the widest, scaled by relevance."""
        features: Array = narrowed(genomes, self._sizes) * self._scale
        return features

    def _prior(self, genomes: Genomes) -> Array:
        """Terms of the divergence's mean: a constant, and its logarithm as the scores foresee it."""
        ones = np.ones(len(genomes))
        if self._scores is None:
            return ones[:, None]
        foreseen = np.log(self._least_kl + self._scores.predicted_kl(genomes))
        return np.stack([ones, foreseen], axis=1)


def _column(seen: Sequence[Trial], value: _Value, failed: int, worst: _Worst) -> Array:
    values = np.array([value(trial.values) for trial in seen], dtype=np.float64)
    # A metric need not be defined on the first images alone, on which a screened candidate was seen.
    known = values[np.isfinite(values)]
    values = np.where(np.isfinite(values), values, worst(known) if len(known) else 0.0)
    return np.concatenate([values, np.full(failed, worst(values))])


def _divergence_terms(log_kl: Array) -> Array:
    """Accuracy falls with the divergence, and slower than it near the float model: a root and the whole."""
    return np.stack([np.ones_like(log_kl), np.exp(0.5 * log_kl), np.exp(log_kl)], axis=1)
