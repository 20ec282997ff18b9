"""Float models that guess, and labels that are shifted, in another order, or of other data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.splits import make_splits
from bitfront.evaluators.models.digits_models import build_digits
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.tasks.chance import Verdict, judge_float
from bitfront.evaluators.tasks.registry import task_named


class Digits:
    """The embedded model on 128 calibration images."""

    def __init__(self) -> None:
        source, model = DigitsSource(), load_model("digits_deit")
        splits = make_splits(source, calibration=128, search=None, test=None, seed=0)
        images = load_images(source, splits.calibration, model.data_config)
        self.pixels, self.labels = images.normalised(images.pixels), images.labels
        with torch.inference_mode():
            features = model.module.forward_features(self.pixels)
            self.features = model.module.forward_head(features, pre_logits=True)
            self.logits = model.module(self.pixels)

    def random_head(self, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return self.features @ torch.randn(self.features.shape[1], 10, generator=generator)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


def judged(logits: torch.Tensor, labels: torch.Tensor, names=None, task: str = "classification") -> Verdict:
    return judge_float(task_named(task), logits, labels, names)


def alike(labels: torch.Tensor, classes: int, share: float = 0.8) -> torch.Tensor:
    """Logits that are right on a share of the images."""
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(labels), generator=generator) > share
    decided = torch.where(wrong, torch.randint(classes, labels.shape, generator=generator), labels)
    noise = torch.randn(len(labels), classes, generator=generator)
    return noise + 8.0 * torch.nn.functional.one_hot(decided, classes)


def test_a_model_that_fits_has_no_fault(digits: Digits) -> None:
    found = judged(digits.logits, digits.labels)
    assert (found.fault, found.enough) == (None, True)
    assert found.guess == pytest.approx(10.0, abs=0.1)


def test_labels_shifted_by_one_are_named(digits: Digits) -> None:
    kept = digits.labels < 9
    shifted = judged(digits.logits[kept], digits.labels[kept] + 1)
    assert shifted.fault is not None
    assert "0 of 115 images right, but 115 of 115 images right with every label less by one" in shifted.fault
    kept = digits.labels > 0
    assert "with every label greater by one" in str(
        judged(digits.logits[kept], digits.labels[kept] - 1).fault
    )


def test_labels_shifted_by_one_are_named_of_many_classes_though_neighbours_are_alike() -> None:
    labels = torch.arange(128) * 7 + 3
    logits = alike(labels, 1000, 0.7)
    logits[::16] += 99.0 * torch.nn.functional.one_hot(labels[::16] + 1, 1000)  # more than a guess of 1,000
    fault = str(judged(logits, labels + 1).fault)
    assert "8 of 128 images right, but " in fault
    assert "with every label less by one" in fault


def test_another_order_of_the_classes_is_named(digits: Digits) -> None:
    order = torch.tensor([3, 0, 1, 2, 4, 5, 7, 6, 8, 9])
    fault = str(judged(digits.logits[:, order.argsort()], digits.labels, tuple("abcdefghij")).fault)
    assert "128 of 128 images right with the classes in another order" in fault
    assert "(class 'a' is output 3, class 'b' is output 0, class 'c' is output 1, ...)" in fault


def test_two_classes_the_wrong_way_round_are_another_order() -> None:
    labels = torch.arange(128) % 2
    assert "class 0 is output 1" in str(judged(alike(labels, 2, 0.95), 1 - labels).fault)


def test_the_natural_order_of_folders_is_named(digits: Digits) -> None:
    names = sorted(str(number) for number in range(1, 11))  # 1, 10, 2, ...: the model has 1, 2, ..., 10
    labels = torch.tensor([names.index(str(int(label) + 1)) for label in digits.labels])
    fault = str(judged(digits.logits, labels, names).fault)
    assert "128 of 128 images right with the classes in the natural order of their names" in fault
    assert "give --class-order natural" in fault


@pytest.mark.parametrize(
    ("listed", "key", "how"),
    [
        ([str(number) for number in range(12)], str, "plain order of their numbers"),
        (sorted("aBcDeFgHiJkL"), str.casefold, "natural order of their names (2 before 10, without case)"),
        (sorted(["A10", "a2", "b", *"cDeFgHiJk"]), str.casefold, "order of their names without capitals"),
        (sorted("aBcDeFgHiJkL", key=str.casefold), str, "plain order of their names (10 before 2, capitals"),
    ],
)
def test_other_ways_to_sort_are_named(listed: list[str], key: Callable[[str], str], how: str) -> None:
    names, order = None if listed[0] == "0" else listed, sorted(listed, key=key)
    labels = torch.arange(96) % 12
    outputs = torch.tensor([order.index(listed[int(label)]) for label in labels])
    fault = str(judged(alike(outputs, 12), labels, names).fault)
    assert "with the classes in the " in fault
    assert how in fault


@pytest.mark.parametrize("seed", range(10))
def test_a_random_head_is_no_order_though_it_is_right_by_luck(digits: Digits, seed: int) -> None:
    fault = str(judged(digits.random_head(seed), digits.labels).fault)
    assert "the head is untrained or of another data set" in fault
    assert "every label" not in fault


@pytest.mark.parametrize("seed", range(2))
def test_an_untrained_model_is_refused(digits: Digits, seed: int) -> None:
    torch.manual_seed(seed)
    with torch.inference_mode():
        logits = build_digits("digits_deit").eval()(digits.pixels)
    fault = str(judged(logits, digits.labels).fault)
    assert "which is a guess, and neither labels shifted by one nor another order" in fault


def test_outputs_of_other_classes_are_a_head_of_another_data_set(digits: Digits) -> None:
    logits = torch.full((128, 40), -9.0)
    logits[:, 20:30] = digits.logits
    fault = str(judged(logits, digits.labels).fault)
    assert "but 128 of 128 images right read as other outputs (class 0 is output 20, " in fault
    assert (
        "the head is of another data set; give a --class-map, its numbers as labels in a labels.csv" in fault
    )


def test_few_images_of_many_classes_do_not_show_an_order() -> None:
    labels = torch.arange(128) * 7
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    fault = str(judged(alike(order[labels], 1000, 0.7), labels).fault)
    assert (
        "for which 128 images of 128 classes are too few to be tried (give more --calibration-images), or"
        in fault
    )


@pytest.mark.parametrize("count", [2, 4])
def test_too_few_images_are_no_evidence(count: int) -> None:
    labels = torch.arange(count) % 2
    found = judged(alike(labels, 2, 0.0), labels)
    assert (found.fault, found.enough) == (None, False)


def test_balanced_decisions_on_unbalanced_data_are_no_guess() -> None:
    # Right on 80 % of each class: fewer than the majority class has.
    labels = torch.tensor(([0] * 9 + [1]) * 20)
    logits = torch.nn.functional.one_hot(
        torch.where(torch.arange(200) % 5 == 4, 1 - labels, labels), 2
    ).float()
    assert judged(logits, labels).fault is None


class TestManyLabels:
    """Every image has any number of six labels."""

    labels = (torch.rand(128, 6, generator=torch.Generator().manual_seed(0)) < 0.3).long()
    logits = 4.0 * labels + 2.0 * torch.randn(128, 6, generator=torch.Generator().manual_seed(1))

    def test_a_model_that_fits_has_no_fault(self) -> None:
        assert judged(self.logits, self.labels, task="multilabel") == Verdict(None, True, None)

    def test_a_guess_is_refused(self) -> None:
        guess = torch.randn(128, 6, generator=torch.Generator().manual_seed(2))
        assert "which is a guess" in str(judged(guess, self.labels, task="multilabel").fault)

    def test_few_images_are_no_evidence(self) -> None:
        found = judged(-self.logits[:4], self.labels[:4], task="multilabel")
        assert (found.fault, found.enough) == (None, False)

    def test_labels_shifted_by_one_are_named(self) -> None:
        shifted = torch.cat([torch.zeros(128, 1, dtype=torch.int64), self.labels[:, :-1]], 1)
        fault = str(judged(self.logits, shifted, task="multilabel").fault)
        assert "with every label less by one" in fault
        assert fault.startswith("ROC-AUC ")
        assert fault.endswith("give their columns in the order of the model's outputs")

    def test_an_order_that_is_partly_a_shift_is_none(self) -> None:
        kept = [0, 1, 2, 3]
        fault = str(judged(self.logits[:, kept], self.labels[:, [2, 0, 1, 3]], task="multilabel").fault)
        assert "in another order (class 0 is output 2, class 1 is output 0, class 2 is output 1)" in fault

    def test_another_order_is_named(self) -> None:
        order = [2, 0, 1, 3, 5, 4]
        fault = str(judged(self.logits[:, order], self.labels, tuple("abcdef"), "multilabel").fault)
        assert (
            "in another order (class 'a' is output 1, class 'b' is output 2, class 'c' is output 0, ...)"
            in fault
        )


def test_faults_are_one_line(digits: Digits) -> None:
    for labels in (digits.labels.roll(1), 9 - digits.labels, (digits.labels - 1).clamp(0)):
        fault = str(judged(digits.logits, labels).fault)
        assert "\n" not in fault
        assert len(fault) < 500
