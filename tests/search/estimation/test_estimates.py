"""Estimates of accuracy from counts and divergences: against dense Gaussian algebra and simulated truth."""

from __future__ import annotations

import base64
import dataclasses
import math
from statistics import NormalDist
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bitfront.evaluators.tasks.quality import Quality, packed, standard_error
from bitfront.search.estimation import estimates
from bitfront.search.estimation.estimates import (
    CORRELATION,
    Estimator,
    Measurements,
    Posterior,
    estimate_differences,
    judged,
    judging_archive,
)
from bitfront.search.problem.archive import Archive
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import References
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial

# Of the simulated float model, in percent.
WHOLE = 72.0


@dataclasses.dataclass(frozen=True)
class Simulated:
    """Configurations whose true differences are known.

    Attributes:
        truth: Differences on all images that there are, in points.
        seen: What the first images say.
        right: Which of them each configuration decides right, ``[configurations, images]``.
        float_right: The same of the float model.
    """

    truth: np.ndarray
    seen: Measurements
    right: np.ndarray
    float_right: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        return self.seen.difference

    @property
    def estimated(self) -> Posterior:
        return estimate_differences(self.seen, WHOLE)


def simulated(seed: int, count: int = 40, images: int = 256, everything: int = 30_000) -> Simulated:
    """Losses follow a curve of the divergence up to departures; images near a boundary flip for many."""
    rng = np.random.default_rng(seed)
    divergence = np.exp(rng.uniform(math.log(0.004), math.log(0.4), count))
    slope = 27.0 * math.exp(rng.normal(0.0, 0.15))
    drop = WHOLE * -np.expm1(-slope * divergence / WHOLE) * np.exp(rng.normal(0.0, 0.12, count))
    float_right = rng.random(everything) < WHOLE / 100.0
    # An image's own nearness to a boundary, and what each configuration does to it by itself.
    shared = rng.standard_normal(everything)
    rows = []
    for loss in drop / 100.0:
        changed = min(0.9, 0.1 * math.sqrt(loss) + loss)
        lost, won = (changed + loss) / 2.0, (changed - loss) / 2.0
        near = math.sqrt(0.5) * shared + math.sqrt(0.5) * rng.standard_normal(everything)
        falls = near > NormalDist().inv_cdf(1.0 - min(0.999, lost / (WHOLE / 100.0)))
        rises = near < NormalDist().inv_cdf(max(1e-9, min(0.999, won / (1.0 - WHOLE / 100.0))))
        rows.append(np.where(float_right, ~falls, rises))
    right = np.array(rows)
    signed = right.astype(float) - float_right
    here = signed[:, :images]
    # The float model's probabilities err in common, and a little for each.
    expected = 100.0 * signed.mean(axis=1) * np.exp(rng.normal(0.0, 0.25) + rng.normal(0.0, 0.05, count))
    seen = Measurements(
        divergence,
        100.0 * here.mean(axis=1),
        np.abs(here).mean(axis=1),
        np.full(count, float(images)),
        expected,
    )
    return Simulated(100.0 * signed.mean(axis=1), seen, right[:, :images], float_right[:images])


@pytest.fixture(scope="module")
def worlds() -> list[Simulated]:
    return [simulated(seed) for seed in range(30)]


class TestPosterior:
    """Against conditioning with full covariance matrices."""

    def parts(self, count: int = 7) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(3)
        prior = -rng.uniform(0.1, 20.0, count)
        return {
            "difference": prior + rng.normal(0.0, 3.0, count),
            "prior": prior,
            "shared": np.stack([0.3 * prior, 0.01 * prior**2], axis=1),
            "departure": rng.uniform(0.01, 2.0, count),
            "common": rng.uniform(0.1, 1.5, count),
            "independent": rng.uniform(0.1, 3.0, count),
        }

    def dense(self, part: dict[str, np.ndarray]) -> tuple[float, np.ndarray, np.ndarray]:
        """Log-likelihood, means and the covariance matrix of the true differences."""
        of_truth = part["shared"] @ part["shared"].T + np.diag(part["departure"])
        of_counts = of_truth + np.outer(part["common"], part["common"]) + np.diag(part["independent"])
        gain = of_truth @ np.linalg.inv(of_counts)
        mean = part["prior"] + gain @ (part["difference"] - part["prior"])
        likelihood = multivariate_normal(part["prior"], of_counts).logpdf(part["difference"])
        return float(likelihood), mean, of_truth - gain @ of_truth

    def test_means_and_covariances_are_those_of_dense_conditioning(self) -> None:
        part = self.parts()
        _, mean, covariance = self.dense(part)
        _, found, by_unknown, own = estimates._posterior(**part)
        np.testing.assert_allclose(found, mean, rtol=1e-9)
        np.testing.assert_allclose(by_unknown @ by_unknown.T + np.diag(own), covariance, atol=1e-9)

    def test_likelihoods_differ_by_what_they_should(self) -> None:
        one, other = self.parts(), self.parts()
        other["departure"] = 4.0 * other["departure"]
        other["common"] = 0.5 * other["common"]
        found = [estimates._posterior(**part)[0] for part in (one, other)]
        wanted = [self.dense(part)[0] for part in (one, other)]
        assert found[0] - found[1] == pytest.approx(wanted[0] - wanted[1], rel=1e-9)

    @pytest.fixture
    def one_scale(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(estimates, "RHOS", (0.1,))
        monkeypatch.setattr(estimates, "TAUS", (0.2,))

    def test_errors_of_pairs_are_those_of_dense_conditioning(self, one_scale: None) -> None:
        seen = simulated(1, count=9).seen
        found = estimate_differences(seen, WHOLE)
        prior, spread = estimates._expected_loss(seen, WHOLE)
        own = found.noise / np.sqrt(seen.images)
        _, mean, covariance = self.dense(
            {
                "difference": seen.difference,
                "prior": prior,
                "shared": np.stack([spread * prior, prior**2 / WHOLE], axis=1),
                "departure": (0.1 * prior) ** 2 + 0.2**2,
                "common": math.sqrt(CORRELATION) * own,
                "independent": (1.0 - CORRELATION) * own**2,
            }
        )
        np.testing.assert_allclose(found.mean, mean, rtol=1e-9)
        np.testing.assert_allclose(found.error, np.sqrt(np.diag(covariance)), rtol=1e-9)
        rows = np.array([7, 0, 3])
        wanted = [[covariance[i, i] + covariance[j, j] - 2 * covariance[i, j] for j in rows] for i in rows]
        np.testing.assert_allclose(found.errors_of_pairs(rows) ** 2, wanted, atol=1e-9)
        assert (np.diag(found.errors_of_pairs(rows)) == 0.0).all()

    def test_averaging_over_scales_is_that_of_a_mixture(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen, parts = simulated(2, count=8).seen, []
        whole = estimate_differences(seen, WHOLE)
        for rho in estimates.RHOS:
            for tau in estimates.TAUS:
                with monkeypatch.context() as patch:
                    patch.setattr(estimates, "RHOS", (rho,))
                    patch.setattr(estimates, "TAUS", (tau,))
                    parts.append(estimate_differences(seen, WHOLE))
        means = np.array([part.mean for part in parts])
        assert (means.min(axis=0) <= whole.mean).all()
        assert (whole.mean <= means.max(axis=0)).all()
        least = min(float(part.error.min()) for part in parts)
        assert (whole.error >= least).all()


class TestSimulated:
    def test_estimates_are_nearer_the_truth_than_counts(self, worlds: list[Simulated]) -> None:
        def rmse(values: list[np.ndarray]) -> float:
            return float(np.sqrt(np.mean(np.square(np.concatenate(values)))))

        estimated = rmse([world.estimated.mean - world.truth for world in worlds])
        assert estimated < 0.7 * rmse([world.counted - world.truth for world in worlds])

    def test_the_best_of_many_is_no_lucky_one(self, worlds: list[Simulated]) -> None:
        def optimism(of: str) -> float:
            gains = []
            for world in worlds:
                values = world.counted if of == "counts" else world.estimated.mean
                best = int(values.argmax())
                gains.append(values[best] - world.truth[best])
            return float(np.mean(gains))

        assert optimism("counts") > 0.5, "else there is nothing to mend"
        assert abs(optimism("estimates")) < 0.25

    def test_errors_are_as_large_as_they_say(self, worlds: list[Simulated]) -> None:
        scores = np.concatenate([(w.estimated.mean - w.truth) / w.estimated.error for w in worlds])
        assert 0.7 < float(np.sqrt(np.mean(scores**2))) < 1.3

    def test_errors_of_pairs_are_as_large_as_they_say(self, worlds: list[Simulated]) -> None:
        scores = []
        for world in worlds:
            rows = np.argsort(world.seen.divergence)[::4]
            apart = (world.estimated.mean - world.truth)[rows]
            error = world.estimated.errors_of_pairs(rows)
            i, j = np.triu_indices(len(rows), 1)
            scores.append((apart[i] - apart[j]) / error[i, j])
        assert 0.7 < float(np.sqrt(np.mean(np.concatenate(scores) ** 2))) < 1.3

    @pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
    def test_bounds_hold_as_often_as_promised(self, worlds: list[Simulated], confidence: float) -> None:
        margin = NormalDist().inv_cdf(confidence)
        held = [w.estimated.mean - margin * w.estimated.error <= w.truth for w in worlds]
        assert float(np.mean(held)) == pytest.approx(confidence, abs=0.1)

    def test_errors_fall_with_images(self) -> None:
        few, many = (simulated(5, images=images).estimated.error.mean() for images in (128, 2048))
        assert many < 0.8 * few

    def test_without_probabilities_estimates_are_less_sure_and_still_better_than_counts(self) -> None:
        gains = []
        for world in map(simulated, range(20)):
            blind = dataclasses.replace(world.seen, expected=np.full(len(world.truth), np.nan))
            found = estimate_differences(blind, WHOLE)
            assert np.isfinite(found.mean).all()
            gains.append(
                [np.mean((found.mean - world.truth) ** 2), np.mean((world.counted - world.truth) ** 2)]
            )
        assert np.mean(gains, axis=0)[0] < 0.6 * np.mean(gains, axis=0)[1]
        first = simulated(0)
        blind = dataclasses.replace(first.seen, expected=np.full(len(first.truth), np.nan))
        few = Measurements(*(getattr(blind, f.name)[:1] for f in dataclasses.fields(blind)))
        told = Measurements(*(getattr(first.seen, f.name)[:1] for f in dataclasses.fields(blind)))
        assert estimate_differences(few, WHOLE).error[0] > estimate_differences(told, WHOLE).error[0]

    @pytest.mark.parametrize("divergence", [0.0, 1e-9, 40.0])
    def test_extremes_are_finite(self, divergence: float) -> None:
        for lost, expected in ((0.0, 0.0), (1.0, -80.0), (0.0, math.nan), (0.0, 3.0)):
            seen = Measurements(*(np.array([v]) for v in (divergence, -WHOLE * lost, lost, 64.0, expected)))
            found = estimate_differences(seen, WHOLE)
            assert np.isfinite(found.mean).all()
            assert (found.error > 0.0).all()
            assert estimate_differences(seen, 0.0).mean[0] < 2.0, "a float model that decides nothing right"


class TestTemperedSlope:
    def test_the_curve_expects_what_the_probabilities_do(self) -> None:
        seen = simulated(0).seen
        prior, spread = estimates._expected_loss(seen, WHOLE)
        assert prior.sum() == pytest.approx(seen.expected.sum(), rel=1e-3)
        assert spread == estimates.SLOPE_SD
        assert (np.diff(prior[np.argsort(seen.divergence)]) < 0.0).all()
        assert (prior > -WHOLE).all()

    def test_what_cannot_be_falls_back_to_the_usual(self) -> None:
        seen = simulated(0, count=3).seen
        for expected in (np.zeros(3), np.full(3, 5.0), np.full(3, np.nan)):
            usual = estimates._expected_loss(dataclasses.replace(seen, expected=expected), WHOLE)
            assert usual[1] == estimates.USUAL_SLOPE_SD
            wanted = -WHOLE * -np.expm1(-estimates.USUAL_SLOPE * seen.divergence / WHOLE)
            np.testing.assert_allclose(usual[0], wanted)


# The estimator: trials of a run.


def problem_of(
    synthetic: ModuleType, spec: RunSpec | None = None, whole: float | None = 98.5, test_images: int = 0
) -> SearchProblem:
    searched = synthetic.space()
    marks = synthetic.references(searched)
    values = {"loss": 0.02} | ({"top1": whole} if whole is not None else {})
    base = dataclasses.replace(marks.float_model, values=values, test_images=test_images or None)
    return SearchProblem.from_spec(
        synthetic.at_widths_of(searched, spec), searched, synthetic.Cost(), References(base, marks.eight_bit)
    )


def trials_of(synthetic: ModuleType, problem: SearchProblem, count: int = 30, seed: int = 0) -> list[Trial]:
    """Evaluated genomes whose counts are drawn, with the images that each of them gets right."""
    rng, found = np.random.default_rng(seed), list[Trial]()
    float_right = np.ones(500, dtype=bool)
    float_right[:7] = False
    for number, genome in enumerate(problem.space.sample(rng, count)):
        candidate = problem.prepare(genome)
        score = synthetic.score(candidate.config)
        right = float_right & (rng.random(500) < score["top1"] / 98.5)
        lost, won = int((float_right & ~right).sum()), int((right & ~float_right).sum())
        values = {**score.values, "top1": 100.0 * float(right.mean())}
        quality = Quality(500, values, lost, won, 0.0, packed(right), -1.2 * (98.5 - score["top1"]))
        found.append(problem.trial(number, candidate, quality, 0.0))
    return found


def figures(trials: list[Trial]) -> dict[str, dict[str, float]]:
    return {trial.digest: dict(trial.values) for trial in trials}


class TestEstimator:
    def test_the_order_in_which_trials_arrive_changes_no_bit(self, synthetic: ModuleType) -> None:
        problem = problem_of(synthetic, RunSpec(max_drop=2.0), test_images=300)
        trials = trials_of(synthetic, problem)
        wanted = figures(judged(problem, trials))
        for seed in range(3):
            order = np.random.default_rng(seed).permutation(len(trials))
            shuffled = Estimator.of(problem, [trials[i] for i in order])
            assert figures(shuffled.judged(trials)) == wanted
            archive = judging_archive(problem, [trials[i] for i in order])
            assert figures(list(archive.trials)) == wanted

    def test_measured_values_stay_and_estimates_stand_beside_them(self, synthetic: ModuleType) -> None:
        problem = problem_of(synthetic)
        trials = trials_of(synthetic, problem)
        for before, after in zip(trials, judged(problem, trials), strict=True):
            assert {name: after.values[name] for name in before.values} == before.values
            assert set(after.values) - set(before.values) == {"top1_estimate", "top1_estimate_error"}
            assert after.values["top1_estimate_error"] > 0.0
            assert (after.number, after.right, after.state) == (before.number, before.right, before.state)

    def test_what_was_not_evaluated_says_nothing(self, synthetic: ModuleType) -> None:
        problem = problem_of(synthetic)
        trials = trials_of(synthetic, problem, 12)
        wanted = figures(judged(problem, trials[:8]))
        nothing = [
            dataclasses.replace(trials[8], state="failed"),
            dataclasses.replace(trials[9], state="rejected"),
            dataclasses.replace(trials[10], values={**trials[10].values, "kl": math.nan}),
            dataclasses.replace(
                trials[11], values={k: v for k, v in trials[11].values.items() if k != "lost"}
            ),
        ]
        found = judged(problem, [*trials[:8], *nothing])
        assert figures(found[:8]) == wanted
        assert found[8:] == nothing, "and comes back as it is"

    def test_a_screened_candidate_counts_on_the_images_that_it_saw(self, synthetic: ModuleType) -> None:
        problem = problem_of(synthetic)
        trials = trials_of(synthetic, problem, 12)
        last = trials[-1]

        def seen(images: int) -> Trial:
            counts = {"images": float(images), "lost": 0.2 * images, "won": 0.0, "top1": 78.5}
            state = "complete" if images == 500 else "screened"
            flags = packed(np.ones(images, dtype=bool))
            known = dataclasses.replace(last, state=state, values={**last.values, **counts}, right=flags)
            return judged(problem, [*trials[:-1], known])[-1]

        part, whole = seen(100), seen(500)
        assert (part.state, whole.state) == ("screened", "complete")
        assert part.values["top1_estimate_error"] > 1.05 * whole.values["top1_estimate_error"]
        assert abs(part.values["top1_estimate"] - 78.5) > abs(whole.values["top1_estimate"] - 78.5)

    def test_trials_of_earlier_versions_are_judged_by_counts_and_divergence(
        self, synthetic: ModuleType
    ) -> None:
        problem = problem_of(synthetic)
        old = [
            dataclasses.replace(
                trial, right="", values={k: v for k, v in trial.values.items() if k != "expected_difference"}
            )
            for trial in trials_of(synthetic, problem, 12)
        ]
        estimator = Estimator.of(problem, old)
        assert estimator.correlation == CORRELATION
        for trial in estimator.judged(old):
            assert math.isfinite(trial.values["top1_estimate"])
            assert trial.values["top1_estimate_error"] > 0.0

    def test_an_unknown_float_model_leaves_counts_as_they_are(self, synthetic: ModuleType) -> None:
        problem = problem_of(synthetic, whole=None)
        trials = trials_of(synthetic, problem, 8)
        assert not Estimator(problem).active
        assert judged(problem, trials) == trials
        assert judged(problem_of(synthetic), []) == []

    def test_errors_that_hit_the_same_images_are_correlated(self, synthetic: ModuleType) -> None:
        alone = problem_of(synthetic)
        flags = np.ones(500, dtype=bool)
        problem = dataclasses.replace(alone, float_right=packed(flags))
        trials = trials_of(synthetic, problem, 12)

        def hit(rows: list[np.ndarray]) -> float:
            changed = [
                dataclasses.replace(trial, right=packed(row)) for trial, row in zip(trials, rows, strict=True)
            ]
            return Estimator.of(problem, changed).correlation

        rng = np.random.default_rng(0)
        same = flags.copy()
        same[:60] = False
        own = [rng.permutation(same) for _ in trials]
        assert hit([same] * 12) == 0.95
        assert hit(own) < 0.2
        assert hit([flags] * 12) == pytest.approx(CORRELATION), "nothing changed says nothing"


class TestLimits:
    def bounds(self, synthetic: ModuleType, spec: RunSpec, test_images: int = 0) -> list[Trial]:
        problem = problem_of(synthetic, spec, test_images=test_images)
        return judged(problem, trials_of(synthetic, problem))

    @pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
    def test_a_drop_bears_the_error_of_the_difference_alone(
        self, synthetic: ModuleType, confidence: float
    ) -> None:
        margin = NormalDist().inv_cdf(confidence)
        for trial in self.bounds(synthetic, RunSpec(max_drop=3.0, confidence=confidence)):
            estimate, error = trial.values["top1_estimate"], trial.values["top1_estimate_error"]
            bound = trial.values["bound.max_drop"]
            assert bound == pytest.approx(estimate - margin * error, rel=1e-12)
            assert trial.violations["max_drop"] == pytest.approx((95.5 - bound) / 95.5)

    def test_at_even_odds_there_is_no_margin(self, synthetic: ModuleType) -> None:
        spec = RunSpec(max_drop=3.0, min_top1=90.0, confidence=0.5)
        for trial in self.bounds(synthetic, spec, test_images=100):
            for name in ("bound.max_drop", "bound.min_top1"):
                assert trial.values[name] == pytest.approx(trial.values["top1_estimate"], rel=1e-12)

    def test_an_absolute_limit_bears_the_error_of_the_float_model_too(self, synthetic: ModuleType) -> None:
        margin = NormalDist().inv_cdf(0.8)
        spec = RunSpec(max_drop=3.0, min_top1=90.0)
        for images in (0, 400):
            for trial in self.bounds(synthetic, spec, test_images=images):
                estimate = trial.values["top1_estimate"]
                drop, least = (estimate - trial.values[f"bound.{n}"] for n in ("max_drop", "min_top1"))
                shares = [standard_error(98.5, count) for count in (500, images) if count]
                wanted = math.hypot(drop, *(margin * share for share in shares))
                assert least == pytest.approx(wanted, rel=1e-9)

    def test_few_test_images_need_a_wider_margin(self, synthetic: ModuleType) -> None:
        spec = RunSpec(max_drop=3.0)
        for none, many, few in zip(
            *(self.bounds(synthetic, spec, count) for count in (0, 10_000_000, 50)), strict=True
        ):
            assert many.values["bound.max_drop"] == pytest.approx(none.values["bound.max_drop"], abs=1e-3)
            assert few.values["bound.max_drop"] < none.values["bound.max_drop"] - 0.1

    def test_other_sides_bear_the_margin_upwards(self, synthetic: ModuleType) -> None:
        problem = problem_of(synthetic, RunSpec(max_drop=3.0))
        (limit,) = (limit for limit in problem.limits if limit.name == "max_drop")
        upper = dataclasses.replace(problem, limits=(dataclasses.replace(limit, side="at most"),))
        trials = trials_of(synthetic, problem)
        for below, above in zip(judged(problem, trials), judged(upper, trials), strict=True):
            estimate = below.values["top1_estimate"]
            assert above.values["bound.max_drop"] - estimate == pytest.approx(
                estimate - below.values["bound.max_drop"]
            )

    def test_other_metrics_and_costs_are_taken_as_measured(self, synthetic: ModuleType) -> None:
        spec = RunSpec(max_size="110kB", max_metric=("kl=0.5",))
        problem = problem_of(synthetic, spec)
        trials = trials_of(synthetic, problem)
        for before, after in zip(trials, judged(problem, trials), strict=True):
            assert after.violations == before.violations
            assert not any(name.startswith("bound.") for name in after.values)


class TestFront:
    def test_a_lucky_count_is_not_on_the_front(self, synthetic: ModuleType) -> None:
        problem = problem_of(synthetic)
        costs = {"latency_ms": 9.0, "size_bytes": 100_000.0}
        trials = [
            dataclasses.replace(trial, values={**trial.values, **costs})
            for trial in sorted(trials_of(synthetic, problem), key=lambda trial: trial.values["kl"])[3:]
        ]
        (counted,) = Archive(problem.objectives, trials).front
        (estimated,) = judging_archive(problem, trials).front
        assert counted.values["top1"] > estimated.values["top1"] + 1.0
        assert estimated.digest == trials[0].digest, "it is the nearest to the float model"

    def test_latencies_that_differ_in_the_last_bit_do_not_differ(self, synthetic: ModuleType) -> None:
        """Sums in another order: a model's latencies have no noise, and rounding all the same."""
        problem = problem_of(synthetic)
        assert problem.cost.latency_noise == 0.0
        better, worse = sorted(trials_of(synthetic, problem, 2), key=lambda trial: trial.values["kl"])
        same = {"size_bytes": 100_000.0}
        latency = 1.234567
        better = dataclasses.replace(
            better, values={**better.values, **same, "latency_ms": np.nextafter(latency, 2.0)}
        )
        worse = dataclasses.replace(worse, values={**worse.values, **same, "latency_ms": latency})
        assert [t.digest for t in judging_archive(problem, [worse, better]).front] == [better.digest]


def test_damaged_text_of_right_images_is_no_silent_estimate(synthetic: ModuleType) -> None:
    problem = dataclasses.replace(problem_of(synthetic), float_right=packed(np.ones(500, dtype=bool)))
    (trial,) = trials_of(synthetic, problem, 1)
    damaged = dataclasses.replace(trial, right=base64.b64encode(b"nonsense").decode())
    with pytest.raises(ValueError, match="packed flags"):
        Estimator.of(problem, [damaged])
