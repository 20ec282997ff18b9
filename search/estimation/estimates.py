"""What configurations are worth on images that are not searched with, from all that was measured of a run.

A share of images decided right is a count, and the best of many counts is partly luck. What is finer than
counts is the divergence from the float model's outputs: it sums over images and classes, hardly depends on
which images were drawn, and the loss of accuracy follows it. So the divergence is a control variate. With
delta_i the true difference of configuration i to the float model in the share decided right, in points:

    delta_i = (b - c f(x_i) / A) f(x_i) + r_i    b ~ N(1, SLOPE_SD^2)    c ~ N(0, BEND_SD^2)
    d_i     = delta_i + e_i                      r_i ~ N(0, (rho f(x_i))^2 + tau^2)    e ~ N(0, S)

``d_i`` is the counted difference on the images seen, ``x_i`` the divergence; ``f(x) = -A (1 - exp(-x / h))``
falls from 0 to minus the float model's own share ``A``. Its one parameter ``h`` makes ``f`` the loss that the
float model expects of the changed decisions if its probabilities, at a temperature fitted on other images,
are right: labels that were not drawn count as well. The counts then say by ``b`` how far that holds for this
model, by ``c`` how far for large losses, and by ``r_i`` where one configuration departs from the others.
``S`` is the noise of counts. Its variances follow a power of the expected loss, not the counts of each
configuration: a lucky count has fewer changes as well, and would look surer than it is. An image near a
boundary is lost or won by many configurations, so errors are correlated, equally for all pairs.

All of it is Gaussian with three common unknowns, ``b``, ``c`` and the common error, so that posteriors of
``n`` configurations cost ``O(n)``. The scales ``rho`` and ``tau`` are averaged over a grid by their
likelihood and a prior. Control variates: Lavenberg and Welch (Management Science 27(3), 1981); shrinking many
estimates together: Efron and Morris (J. Am. Stat. Assoc. 70, 1975).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.tasks.quality import EXPECTED_DIFFERENCE, standard_error, unpacked
from bitfront.search.problem.archive import Archive
from bitfront.search.problem.limits import Limit
from bitfront.search.problem.objectives import ESTIMATE, ESTIMATE_ERROR, NEGLIGIBLE
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial

Floats = NDArray[np.float64]

# What is counted of a trial, beside its divergence.
COUNTED = ("images", "lost", "won", EXPECTED_DIFFERENCE)
# How far the loss that the float model's probabilities expect may be from the true one, as a share of it.
# DeiT-Tiny's expect 1.3 times of what is lost.
SLOPE_SD = 0.3
# Points lost for a nat near the float model where no probabilities are known (DeiT-Tiny: 27), and the share
# by which that may be wrong.
USUAL_SLOPE, USUAL_SLOPE_SD = 35.0, 0.7
# How far the factor changes from no loss to the loss of everything: small losses do not feel it.
BEND_SD = 1.0
# Grids of the scales of departures, with the medians and the spreads of their log-normal priors.
RHOS, RHO_PRIOR = (0.03, 0.1, 0.2, 0.4), (0.1, 0.8)
TAUS, TAU_PRIOR = (0.03, 0.1, 0.25), (0.1, 0.8)
# What few counts say of their own noise is drawn to these: the power by which changed decisions grow with the
# expected loss, worth so many changes; and the correlation of two configurations' errors, the same.
POWER, POWER_WEIGHT = 0.55, 50.0
CORRELATION, CORRELATION_WEIGHT = 0.4, 50.0
# Divergences and expected losses below these are rounding.
LEAST_DIVERGENCE, LEAST_LOSS = 1e-7, 1e-4
# Latencies are sums in some order and are written with six digits: nearer ones are the same.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Measurements:
    """What was counted of some configurations on the images that each has seen, one entry for each.

    Attributes:
        divergence: From the float model's outputs, at least 0; in nats for classification.
        difference: To the float model in the share decided right, in points.
        changed: Share of images that one of the two models decides right alone.
        images: How many were seen.
        expected: The difference that the float model's probabilities expect, in points; NaN where unknown.
    """

    divergence: Floats
    difference: Floats
    changed: Floats
    images: Floats
    expected: Floats

    @classmethod
    def of(cls, columns: Mapping[str, Floats], distance: str) -> Self:
        """Those of columns of trials; ``distance`` is the one that has the divergence."""
        images, lost, won = columns["images"], columns["lost"], columns["won"]
        divergence, expected = np.maximum(columns[distance], 0.0), columns[EXPECTED_DIFFERENCE]
        difference, changed = 100.0 * (won - lost) / images, (won + lost) / images
        return cls(divergence, difference, changed, images, expected)


@dataclass(frozen=True)
class Posterior:
    """Differences to the float model in the share decided right, as they are on other images, in points.

    Attributes:
        mean: Posterior means.
        error: Their standard deviations.
        noise: Standard deviation of the counted difference of a single image around it.
        by_unknown: What a standard deviation of each common unknown's posterior moves each mean by,
            ``[configurations, unknowns]``.
        own: Variances of what no other configuration shares.
    """

    mean: Floats
    error: Floats
    noise: Floats
    by_unknown: Floats
    own: Floats

    def errors_of_pairs(self, rows: NDArray[np.int64]) -> Floats:
        """Standard deviations of the differences between some configurations, ``[rows, rows]``.

        What moves all of them alike moves differences less.
        """
        apart = self.by_unknown[rows][:, None] - self.by_unknown[rows][None]
        variance = np.square(apart).sum(axis=2) + self.own[rows][:, None] + self.own[rows][None]
        np.fill_diagonal(variance, 0.0)
        errors: Floats = np.sqrt(variance)
        return errors


def estimate_differences(
    seen: Measurements, float_share: float, correlation: float = CORRELATION
) -> Posterior:
    """Posterior of the differences of configurations that were measured on the same images.

    Args:
        seen: What was counted.
        float_share: What the float model decides right, in percent.
        correlation: Of the counting errors of two configurations.
    """
    prior, slope_sd = _expected_loss(seen, float_share)
    shared = np.stack([slope_sd * prior, BEND_SD * prior * prior / max(float_share, 1.0)], axis=1)
    noise = _noise(seen, -prior)
    own = noise / np.sqrt(seen.images)
    common = math.sqrt(correlation) * own
    independent = (1.0 - correlation) * own**2
    weights, found = list[float](), list[tuple[Floats, Floats, Floats]]()
    for rho in RHOS:
        for tau in TAUS:
            departure = (rho * prior) ** 2 + tau**2
            likelihood, *posterior = _posterior(
                seen.difference, prior, shared, departure, common, independent
            )
            weights.append(likelihood + _log_prior(rho, *RHO_PRIOR) + _log_prior(tau, *TAU_PRIOR))
            found.append((posterior[0], posterior[1], posterior[2]))
    share = np.exp(np.array(weights) - max(weights))
    share /= share.sum()
    means, loads, own = (np.array(part) for part in zip(*found, strict=True))
    mean = share @ means
    # The scales are one more common unknown: what they move the means by is moved alike.
    scales = (np.sqrt(share)[:, None] * (means - mean)).T
    within = np.concatenate(
        [np.sqrt(weight) * load for weight, load in zip(share, loads, strict=True)], axis=1
    )
    by_unknown = np.concatenate([within, scales], axis=1)
    alone = share @ own
    return Posterior(mean, np.sqrt(np.square(by_unknown).sum(axis=1) + alone), noise, by_unknown, alone)


def _expected_loss(seen: Measurements, float_share: float) -> tuple[Floats, float]:
    """``f`` of each configuration, at most 0, and the standard deviation of its factor."""
    whole = max(float_share, 1.0)
    known = np.isfinite(seen.expected)
    slope, slope_sd = USUAL_SLOPE, USUAL_SLOPE_SD
    if known.any():
        # One equation for the one parameter: both sums agree. It is solved for the initial slope A / h.
        x, wanted = seen.divergence[known], -float(np.minimum(seen.expected[known], 0.0).sum())
        wanted = min(wanted, 0.99 * whole * len(x))
        if wanted > LEAST_LOSS and x.sum() > LEAST_DIVERGENCE:
            from scipy.optimize import brentq

            def excess(log_slope: float) -> float:
                return float(-_curve(x, math.exp(log_slope), whole).sum()) - wanted

            low, high = math.log(1e-2), math.log(1e5)
            if excess(low) < 0.0 < excess(high):
                slope, slope_sd = math.exp(brentq(excess, low, high, xtol=1e-6)), SLOPE_SD
    return np.minimum(_curve(seen.divergence, slope, whole), -LEAST_LOSS), slope_sd


def _curve(divergence: Floats, slope: float, whole: float) -> Floats:
    found: Floats = whole * np.expm1(-slope * divergence / whole)
    return found


def _noise(seen: Measurements, loss: Floats) -> Floats:
    """Standard deviation of an image's contribution, in points: 100 times the root of the share changed.

    The share is a power of the expected loss. Both its parameters come from all configurations together;
    counts of few changes are drawn to the usual power.
    """
    counts = seen.changed * seen.images
    logs = np.log(np.maximum(loss, LEAST_LOSS))
    centre = np.average(logs, weights=counts + 0.5)
    steps, weights = logs - centre, counts + 0.5
    heights = np.log((counts + 0.5) / seen.images)
    level = np.average(heights, weights=weights)
    pull = POWER_WEIGHT
    power = float((weights * steps * (heights - level)).sum() + pull * POWER) / float(
        (weights * steps**2).sum() + pull
    )
    shape = np.exp(min(max(power, 0.3), 1.0) * steps)
    scale = (counts.sum() + 0.5) / float((seen.images * shape).sum())
    # A difference cannot come about by fewer changes than it has points.
    share = np.clip(scale * shape, np.abs(seen.difference) / 100.0, 1.0)
    noise: Floats = 100.0 * np.sqrt(np.maximum(share, 0.5 / seen.images))
    return noise


def _posterior(
    difference: Floats, prior: Floats, shared: Floats, departure: Floats, common: Floats, independent: Floats
) -> tuple[float, Floats, Floats, Floats]:
    """Log-likelihood of the differences, posterior means, and their variances in two parts.

    The parts are what a standard deviation of each of the unknowns' posterior moves the means by,
    ``[configurations, unknowns]``, and the variances of what is each configuration's own.

    Given the common unknowns, each in its standard deviations, configurations are independent.

    Args:
        difference: What was counted.
        prior: Expected differences.
        shared: What a standard deviation of each common unknown of the differences moves them by,
            ``[configurations, unknowns]``.
        departure: Variances of departures from them.
        common: Standard deviations of the part of the errors that is common.
        independent: Variances of the other part.
    """
    total = departure + independent
    loads = np.column_stack([shared, common])
    residual = difference - prior
    precision = np.eye(loads.shape[1]) + (loads / total[:, None]).T @ loads
    covariance = np.linalg.inv(precision)
    pull = loads.T @ (residual / total)
    unknown = covariance @ pull
    likelihood = -0.5 * (
        float((residual**2 / total).sum() - pull @ unknown)
        + float(np.log(total).sum())
        + float(np.linalg.slogdet(precision)[1])
    )
    kept = departure / total
    by_unknown = np.column_stack([(1.0 - kept)[:, None] * shared, -kept * common])
    mean = prior + by_unknown @ unknown + kept * residual
    return likelihood, mean, by_unknown @ np.linalg.cholesky(covariance), departure * (1.0 - kept)


def share_held(
    limit: Limit,
    shares: Floats,
    errors: Floats,
    noise: Floats,
    float_share: float,
    splits: tuple[int | None, int | None],
    confidence: float,
) -> Floats:
    """What shares hold to with a probability on the test split, in percent, ``[configurations]``.

    Where there is none, on any other images. A limit that moves with the float model's share is one on the
    difference; any other one must bear the error of that share, too.

    Args:
        limit: What they are compared with: says on which side the margin lies.
        shares: Estimates, in percent.
        errors: Their standard errors.
        noise: Standard deviation of the counted difference of a single image.
        float_share: What the float model decides right, in percent.
        splits: Images of the search and of the test split; None where there is none.
        confidence: The probability.
    """
    variance = errors**2
    if splits[1]:
        variance = variance + noise**2 / splits[1]
    if not limit.relative:
        variance = variance + sum(standard_error(float_share, count) ** 2 for count in splits if count)
    margin = NormalDist().inv_cdf(confidence) * np.sqrt(variance)
    return shares + (margin if limit.side == "at most" else -margin)


def _log_prior(value: float, median: float, spread: float) -> float:
    return -0.5 * (math.log(value / median) / spread) ** 2


class Estimator:
    """Judges the trials of a run together; each trial is taken in once.

    Args:
        problem: What is searched: names the columns, and has the float model's share and images.
    """

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem
        self._column, self._distance = problem.task.counted, problem.task.distance
        # By number: sums in another order would be other estimates.
        self._seen: dict[int, Trial] = {}
        self._float_right: NDArray[np.int8] | None = None
        if problem.float_right and problem.images:
            self._float_right = unpacked(problem.float_right, problem.images).astype(np.int8)
        # Of the images that one of a configuration and the float model decides right alone, with signs: their
        # sum over configurations by image, and their number by trial.
        self._signed = None if self._float_right is None else np.zeros(len(self._float_right))
        self._changed: dict[int, float] = {}

    @property
    def active(self) -> bool:
        """Whether the float model's share is known, without which there is nothing to compare with."""
        return self._problem.float_counted is not None

    def add(self, trial: Trial) -> None:
        """Takes a trial in; those that were not evaluated say nothing."""
        needed = (self._column, self._distance, "images", "lost", "won")
        if trial.state not in ("complete", "screened") or any(
            not math.isfinite(trial.values.get(name, math.nan)) for name in needed
        ):
            return
        self._seen[trial.number] = trial
        images = int(trial.values["images"])
        if self._signed is not None and self._float_right is not None and trial.right:
            right = unpacked(trial.right, images).astype(np.int8)
            signed = right - self._float_right[:images]
            self._signed[:images] += signed
            self._changed[trial.number] = float(np.abs(signed).sum())

    @property
    def correlation(self) -> float:
        """Of the counting errors of two configurations: how far they change the same images alike."""
        if self._signed is None:
            return CORRELATION
        changed = math.fsum(self._changed.values())
        alike = float(self._signed @ self._signed) - changed
        pairs = math.fsum(map(math.sqrt, self._changed.values())) ** 2 - changed
        found = (alike + CORRELATION_WEIGHT * CORRELATION) / (pairs + CORRELATION_WEIGHT)
        return min(max(found, 0.0), 0.95)

    def judged(self, trials: Iterable[Trial]) -> list[Trial]:
        """Trials with estimates beside what was measured, and violations of limits by these.

        Trials of which there is no estimate come back as they are. An estimate is the float model's share on
        the search images and the estimated difference to it, so that shares can be compared with its own.
        """
        if not (self.active and self._seen):
            return list(trials)
        found = self._estimates()
        return [
            dataclasses.replace(
                trial,
                values={**trial.values, **found[trial.digest]},
                violations=self._violations(trial, found[trial.digest]),
            )
            if trial.digest in found
            else trial
            for trial in trials
        ]

    def _estimates(self) -> dict[str, dict[str, float]]:
        """By digest: the estimate and its error, and what limits are compared with."""
        trials = [self._seen[number] for number in sorted(self._seen)]
        columns = {
            name: np.array([trial.values.get(name, math.nan) for trial in trials], dtype=np.float64)
            for name in (self._distance, *COUNTED)
        }
        seen = Measurements.of(columns, self._distance)
        whole = self._problem.float_counted
        assert whole is not None, "the estimator is active"
        found = estimate_differences(seen, whole, self.correlation)
        limits = [limit for limit in self._problem.limits if limit.column == self._column]
        splits, confidence = (self._problem.images, self._problem.test_images), self._problem.confidence
        shares = whole + found.mean
        bounds = {
            limit.bound: share_held(limit, shares, found.error, found.noise, whole, splits, confidence)
            for limit in limits
        }
        return {
            trial.digest: {
                f"{self._column}{ESTIMATE}": whole + float(found.mean[i]),
                f"{self._column}{ESTIMATE_ERROR}": float(found.error[i]),
                **{name: float(values[i]) for name, values in bounds.items()},
            }
            for i, trial in enumerate(trials)
        }

    def _violations(self, trial: Trial, found: Mapping[str, float]) -> dict[str, float]:
        known = {**trial.values, **found}
        return dict(trial.violations) | {
            limit.name: limit.violation(known)
            for limit in self._problem.limits
            if limit.name in trial.violations and limit.bound in found
        }

    @classmethod
    def of(cls, problem: SearchProblem, trials: Iterable[Trial]) -> Self:
        """One that has taken trials in."""
        found = cls(problem)
        for trial in trials:
            found.add(trial)
        return found


def judged(problem: SearchProblem, trials: Sequence[Trial]) -> list[Trial]:
    """The trials of a run with estimates by all of them."""
    return Estimator.of(problem, trials).judged(trials)


def judging_archive(problem: SearchProblem, trials: Iterable[Trial] = ()) -> Archive:
    """An archive whose front is that of the estimates, differences below the noise of costs being none."""
    tolerances = dict.fromkeys(problem.priced, NEGLIGIBLE)
    tolerances["latency_ms"] = max(problem.cost.latency_noise, ROUNDING)
    return Archive(problem.objectives, trials, Estimator(problem), tolerances)
