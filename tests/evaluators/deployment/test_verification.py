"""Verification: the figures by hand, what is tolerated, and what is no classifier at all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.deployment.tolerance import TO_THE_BIT, Classes, Expected, Tolerance, digests_of
from bitfront.evaluators.deployment.verification import BATCH, Verification, verify
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.evaluators.tasks.registry import task_named
from bitfront.spaces import BitfrontError

CLASSES = 5
TASK = task_named("classification")


def images_of(count: int, first: int = 0) -> PreprocessedImages:
    """Images that show their own number, in a single pixel."""
    numbers = torch.arange(first, first + count)
    return PreprocessedImages(
        numbers.to(torch.uint8).view(-1, 1, 1, 1), numbers % CLASSES, numbers.numpy(), (0.0,), (1.0,)
    )


def classifier(predictions: Classes) -> Callable[[np.ndarray], np.ndarray]:
    """Reads an image's number and yields one-hot logits of the class listed for it."""

    def classify(images: np.ndarray) -> np.ndarray:
        numbers = np.rint(images[:, 0, 0, 0] * 255).astype(int)
        return np.eye(CLASSES, dtype=np.float32)[predictions[numbers]]

    return classify


def expected_of(predictions: Classes, second: Classes | None = None) -> Expected:
    return Expected(predictions, second, np.arange(len(predictions)) % CLASSES)


def checked(
    got: Classes, expected: Expected, tolerance: Tolerance | None = None, splits: tuple[int, ...] = ()
) -> Verification:
    sizes = splits or (len(got),)
    images = [images_of(size, sum(sizes[:n])) for n, size in enumerate(sizes)]
    return verify(classifier(got), images, expected, tolerance or Tolerance(), lambda share: None, TASK)


def test_figures_by_hand() -> None:
    labels = np.arange(20) % CLASSES
    evaluator, got = labels.copy(), labels.copy()
    evaluator[:4] = (labels[:4] + 1) % CLASSES  # wrong
    got[2:7] = (labels[2:7] + 2) % CLASSES  # the first two are wrong otherwise, three are lost
    found = checked(got, expected_of(evaluator))
    assert (found.compared.images, found.compared.lost, found.compared.won) == (20, 3, 2)
    assert (found.share, found.expected.share) == (75.0, 80.0)
    assert found.compared.difference == pytest.approx(-5.0)
    assert found.equal == pytest.approx(100 * 13 / 20)
    document = found.to_json()
    assert document["passed"] is False
    assert document["faults"] == ["65.00 % of predictions are the evaluator's, less than 99.00 %"]
    assert document["largest_top1_difference"] == pytest.approx(3 * found.compared.difference_standard_error)
    assert document["top1"] - document["evaluator_top1"] == pytest.approx(document["top1_difference"])


def test_splits_follow_one_another() -> None:
    predictions = np.arange(BATCH * 3 + 1) % 3
    shares: list[float] = []
    images = [images_of(BATCH + 3), images_of(2 * BATCH - 2, BATCH + 3)]
    found = verify(
        classifier(predictions), images, expected_of(predictions), Tolerance(0.0, 100.0), shares.append, TASK
    )
    assert found.faults() == []
    assert found.equal == 100.0
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_equal_predictions_pass_however_strict_one_is() -> None:
    predictions = np.arange(30) % 4
    assert checked(predictions, expected_of(predictions), Tolerance(0.0, 100.0)).faults() == []


class TestTolerance:
    def test_top1_may_differ_by_the_bound_or_three_standard_errors(self) -> None:
        few, many = PairedComparison(1000, 4, 2), PairedComparison(1000, 40, 20)
        assert Tolerance(0.3).largest_difference(PairedComparison(1000, 0, 0)) == 0.3
        assert Tolerance(0.8).largest_difference(few) == 0.8
        error = 100 * math.sqrt((60 / 1000 - (20 / 1000) ** 2) / 1000)
        assert Tolerance(0.3).largest_difference(many) == pytest.approx(3 * error)

    def test_predictions_must_equal_the_bound_or_what_is_reproducible(self) -> None:
        labels = np.zeros(400, np.int64)
        second = labels.copy()
        assert Tolerance(equal=99.0).least_equal(Expected(labels, None, labels)) == 99.0
        assert Tolerance(equal=99.0).least_equal(Expected(labels, second, labels)) == 99.0
        second[:20] = 1
        chance = 3 * math.sqrt(2) * 100 * math.sqrt(0.95 * 0.05 / 400)
        found = Tolerance(equal=99.0).least_equal(Expected(labels, second, labels))
        assert found == pytest.approx(95.0 - chance)

    def test_more_lost_than_chance_explains_is_a_fault(self) -> None:
        labels = np.arange(200) % CLASSES
        got = labels.copy()
        got[:12] = (labels[:12] + 1) % CLASSES
        faults = checked(got, expected_of(labels), Tolerance(0.3, 50.0)).faults()
        assert len(faults) == 1
        assert faults[0].startswith("top-1 is -6.00 points from the evaluator's, more than ")
        assert checked(got, expected_of(labels), Tolerance(6.0, 94.0)).faults() == []
        assert len(checked(got, expected_of(labels), Tolerance(0.3, 99.0)).faults()) == 2

    def test_a_file_that_gains_is_as_wrong_as_one_that_loses(self) -> None:
        labels = np.arange(200) % CLASSES
        evaluator = labels.copy()
        evaluator[:12] = (labels[:12] + 1) % CLASSES
        faults = checked(labels, expected_of(evaluator), Tolerance(0.3, 50.0)).faults()
        assert faults[0].startswith("top-1 is +6.00 points")

    def test_noise_of_the_evaluators_own_is_no_fault(self) -> None:
        labels = np.arange(200) % CLASSES
        first, second, got = labels.copy(), labels.copy(), labels.copy()
        for predictions, start in ((second, 0), (got, 10)):
            predictions[start : start + 6] = (labels[start : start + 6] + 1) % CLASSES
        strict = Tolerance(3.0, 99.0)
        assert checked(got, expected_of(first), strict).faults() != []
        found = checked(got, expected_of(first, second), strict)
        assert found.expected.reproducible == 97.0
        assert found.faults() == []


@pytest.mark.parametrize(
    "classify",
    [
        lambda images: np.full((len(images), CLASSES), np.nan, np.float32),
        lambda images: np.where(np.arange(CLASSES) == 2, np.inf, np.zeros((len(images), CLASSES))),
        lambda images: np.zeros((len(images) - 1, CLASSES), np.float32),
        lambda images: np.zeros((len(images), CLASSES, 1), np.float32),
        lambda images: np.zeros(len(images), np.float32),
    ],
    ids=["nan", "infinity", "an image too few", "an axis too many", "no classes"],
)
def test_what_yields_no_logits(classify) -> None:
    expected = expected_of(np.arange(10) % CLASSES)
    with pytest.raises(BitfrontError, match="yields no logits for image 0 on: expected finite numbers"):
        verify(classify, [images_of(10)], expected, Tolerance(), lambda share: None, TASK)


def test_the_first_image_without_logits_is_named() -> None:
    def classify(images: np.ndarray) -> np.ndarray:
        return np.full((len(images), CLASSES), np.nan if images.max() * 255 > BATCH else 0.0, np.float32)

    with pytest.raises(BitfrontError, match=f"no logits for image {BATCH} on"):
        verify(
            classify,
            [images_of(20)],
            expected_of(np.zeros(20, np.int64)),
            Tolerance(),
            lambda share: None,
            TASK,
        )


def test_other_metrics_are_compared_within_the_errors_of_their_differences() -> None:
    labels = np.arange(200) % CLASSES
    evaluator = labels.copy()
    evaluator[::10] = (labels[::10] + 1) % CLASSES
    outputs = torch.from_numpy(np.eye(CLASSES, dtype=np.float32)[evaluator])
    metric = TASK.metric("macro_f1")
    value = metric.value(TASK.arithmetic.outputs(Outputs(outputs, outputs, torch.from_numpy(labels))))
    expected = Expected(evaluator, None, labels, {"macro_f1": value}, None, outputs)
    same = checked(evaluator, expected)
    assert same.faults() == []
    assert same.metrics["macro_f1"] == (value, 0.0)
    worse = evaluator.copy()
    worse[3::10] = (labels[3::10] + 2) % CLASSES
    found = checked(worse, expected, Tolerance(0.3, 50.0))
    assert any(fault.startswith("macro-F1 is -") for fault in found.faults())
    recorded = checked(worse, Expected(evaluator, None, labels, {"macro_f1": value}))
    assert recorded.metrics["macro_f1"][0] == found.metrics["macro_f1"][0]
    missing = checked(worse, Expected(evaluator, None, labels, {"sensitivity:0": float("nan")}))
    assert any(fault.startswith("sensitivity of 0 is ") for fault in missing.faults())


class TestToTheBit:
    """Of files that are to have the evaluator's logits themselves."""

    logits = torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(0))

    def verified(self, got: torch.Tensor, expected: Expected) -> Verification:
        rows = got.numpy()

        def classify(images: np.ndarray) -> np.ndarray:
            return np.stack([rows[round(float(image) * 255)] for image in images[:, 0, 0, 0]])

        return verify(classify, [images_of(6)], expected, TO_THE_BIT, lambda share: None, TASK)

    @property
    def expected(self) -> Expected:
        found = expected_of(self.logits.argmax(1).numpy())
        return dataclasses.replace(found, outputs=self.logits)

    @property
    def recorded(self) -> Expected:
        return dataclasses.replace(self.expected, outputs=None, recorded=digests_of(self.logits))

    def test_equal_logits(self) -> None:
        for expected in (self.expected, self.recorded):
            found = self.verified(self.logits.clone(), expected)
            assert (found.bit_equal, found.faults()) == (6, [])
            assert found.to_json()["to_the_bit"] is True

    def test_one_bit_of_one_image(self) -> None:
        other = self.logits.clone()
        other[4, 1] = float(np.nextafter(np.float32(other[4, 1]), np.float32(-9)))
        for expected in (self.expected, self.recorded):
            found = self.verified(other, expected)
            assert found.equal == 100.0
            assert found.bit_equal == 5
            assert found.faults() == ["the outputs of 1 image of 6 are not the evaluator's to the bit"]

    def test_a_record_without_logits(self) -> None:
        found = self.verified(self.logits, dataclasses.replace(self.expected, outputs=None))
        assert found.faults() == [
            "the record has no outputs of the evaluator to compare with: give --rebuild"
        ]

    def test_others_are_not_asked_for_it(self) -> None:
        labels = np.arange(6) % CLASSES
        document = checked(labels, expected_of(labels)).to_json()
        assert (document["to_the_bit"], document["bit_equal_images"]) == (False, None)
