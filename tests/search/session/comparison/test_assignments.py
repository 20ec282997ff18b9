"""What is lined up for a model: paired differences, means over draws and seeds, what is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bitfront.evaluators.tasks.quality import PairedComparison, Quality, packed
from bitfront.search.problem.references import Reference
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial
from bitfront.search.session.comparison.assignments import (
    LinedUp,
    SearchedModel,
    bits_of,
    decoded,
    difference,
)
from bitfront.search.session.comparison.generations import Mark

IMAGES = 200


def flags(seed, share=0.7):
    return np.random.default_rng(seed).random(IMAGES) < share


def quality(right):
    return Quality(IMAGES, {"top1": 100.0 * float(right.mean())}, 0, 0, 0.0, packed(right))


@pytest.fixture(scope="module")
def problem(synthetic):
    return synthetic.problem(RunSpec(), synthetic.space())


def searched(problem, seed, genomes):
    pick, *drawn = (problem.prepare(genome) for genome in genomes)
    trial = Trial(3, pick.digest, pick.genome, "complete", {**pick.values, "top1": 70.0}, {})
    marks = (Mark(2, 8, 0.5, None), Mark(3, 12, 1.0, trial))
    return SearchedModel(seed, f"seed{seed}", 12, 5, trial, tuple(drawn), marks)


def genomes(problem, seed, count):
    return [tuple(row) for row in problem.space.sample(np.random.default_rng(seed), count).tolist()]


@pytest.fixture(scope="module")
def models(problem):
    return [searched(problem, seed, genomes(problem, seed, 3)) for seed in range(2)]


@pytest.fixture(scope="module")
def eight(synthetic):
    return synthetic.uniform(synthetic.space(), 8)


def test_a_paired_difference_is_that_of_counts():
    one, other = flags(0), flags(1, 0.6)
    found = difference(one.astype(float), other.astype(float))
    counted = PairedComparison(IMAGES, int((other & ~one).sum()), int((one & ~other).sum()))
    assert found["value"] == pytest.approx(counted.difference)
    assert found["error"] == pytest.approx(counted.difference_standard_error)
    assert difference(None, other.astype(float)) is None


def test_differences_are_of_means_over_seeds_and_draws(problem, models, eight):
    digests = [m.pick.digest for m in models] + [d.digest for m in models for d in m.draws]
    right = {digest: flags(place) for place, digest in enumerate(["float32", eight.digest, *digests])}
    lined = LinedUp(problem, "top1", eight, {digest: quality(found) for digest, found in right.items()})
    found = lined.differences(models)
    picks = np.mean([right[m.pick.digest] for m in models], axis=0)
    draws = np.mean([np.mean([right[d.digest] for d in m.draws], axis=0) for m in models], axis=0)
    apart = picks - draws
    assert found["search_to_stochastic"]["value"] == pytest.approx(100 * apart.mean())
    assert found["search_to_stochastic"]["error"] == pytest.approx(100 * apart.std() / math.sqrt(IMAGES))
    assert found["eight_bit_to_float"]["value"] == pytest.approx(
        100 * (right[eight.digest].mean() - right["float32"].mean())
    )
    # The mean of several is surer than one of them, and not as sure as if it had no images in common.
    single = lined.differences(models[:1])["search_to_stochastic"]["error"]
    assert found["search_to_stochastic"]["error"] < single


def test_what_is_not_evaluated_yet_is_left_out(problem, models, eight):
    right = flags(0)
    lined = LinedUp(problem, "top1", eight, {models[0].pick.digest: quality(right)})
    assert lined.differences(models) == {}
    assert lined.reference(Reference("W8A8T8", 1.0, 2.0, {"top1": 71.0}), eight.digest) == {
        "digest": eight.digest, "test": None, "search": 71.0, "latency_ms": 1.0, "size_bytes": 2.0,
    }  # fmt: skip
    document = lined.search(models[0])
    assert document["test"] == pytest.approx(100 * right.mean())
    assert [draw["test"] for draw in document["draws"]] == [None, None]
    assert [mark["best"] is None for mark in document["generations"]] == [True, False]
    assert [mark["hypervolume_share"] for mark in document["generations"]] == pytest.approx([0.5, 1.0])


def test_without_draws_nothing_is_said_of_them(problem, eight):
    alone = searched(problem, 0, genomes(problem, 0, 1))
    known = {alone.pick.digest: quality(flags(0)), eight.digest: quality(flags(1))}
    assert set(LinedUp(problem, "top1", eight, known).differences([alone])) == {"search_to_eight_bit"}


def test_bits_are_those_of_every_encoder(problem, models):
    pick = models[0].pick
    bits = problem.space.bits(np.array(pick.genome))
    assert bits_of(decoded(problem, pick)) == [
        [bits[f"encoder{i:02d}.{kind}"] for kind in ("weights", "activations", "attention")]
        for i in range(12)
    ]
    assert len(models[0].configs(problem)) == 4, "the pick, that of one mark, and two draws"
