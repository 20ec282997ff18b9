"""What every task keeps: subclass it with a fixture ``task`` to test one."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from bitfront.evaluators.tasks.metric import Metric, Outputs
from bitfront.evaluators.tasks.quality import resampled, standard_errors
from bitfront.evaluators.tasks.task import Task

IMAGES, CLASSES = 150, 7


class TaskContract:
    """Metrics have a direction and bounds, agree with what they say of the float model, and tell chance."""

    @pytest.fixture
    def task(self) -> Task:
        """The task under test."""
        raise NotImplementedError("a subclass says which task")

    @pytest.fixture
    def outputs(self, task: Task) -> Outputs:
        """Outputs of a fair model and of a better one, its float model."""
        generator = torch.Generator().manual_seed(0)
        if task.multiple:
            labels = (torch.rand(IMAGES, CLASSES, generator=generator) < 0.4).long()
            signal = 2.0 * labels - 1.0
        else:
            labels = torch.randint(0, CLASSES, (IMAGES,), generator=generator)
            signal = torch.nn.functional.one_hot(labels, CLASSES).float()
        noise = torch.randn(2, IMAGES, CLASSES, generator=generator)
        reference = 3.0 * signal + noise[0]
        held_out = Outputs(reference + noise[1], reference, labels)
        return dataclasses.replace(held_out, held_out=lambda: held_out)

    def metrics(self, task: Task) -> list[Metric]:
        """Every metric; those of a class of class 1."""
        return [metric.with_argument("1") if metric.argument else metric for metric in task.metrics]

    def test_names(self, task: Task) -> None:
        names = [metric.name for metric in task.metrics]
        assert len(set(names)) == len(names)
        assert {task.primary, task.counted, task.loss, task.distance} <= set(task.always) <= set(names)
        assert task.metric(task.counted).per_image is not None
        assert task.metric(task.distance).relative

    def test_values_lie_between_the_worst_and_the_ideal(self, task: Task, outputs: Outputs) -> None:
        names = [metric.name for metric in self.metrics(task)]
        found = task.quality(outputs, names)
        assert list(found.values) == list(dict.fromkeys((*task.always, *names)))
        assert found.images == IMAGES
        for metric in self.metrics(task):
            best, worst = metric.sign * metric.ideal, metric.sign * metric.worst(CLASSES)
            assert worst <= metric.sign * found[metric.name] <= best, metric.name

    def test_the_float_model_is_itself_and_better(self, task: Task, outputs: Outputs) -> None:
        whole, fair = task.quality(outputs.of_reference()), task.quality(outputs)
        assert (whole.lost, whole.won, whole[task.distance]) == (0, 0, 0.0)
        assert fair[task.distance] > 0.0
        assert fair.lost > fair.won
        for metric in task.measured():
            assert metric.sign * whole[metric.name] > metric.sign * fair[metric.name], metric.name
            if metric.relative:
                assert whole[metric.name] == metric.ideal

    def test_the_counted_metric_is_the_share_decided_right(self, task: Task, outputs: Outputs) -> None:
        right = task.arithmetic.right(outputs.values, outputs.labels)
        found = task.quality(outputs)
        assert found[task.counted] == pytest.approx(100.0 * float(right.double().mean()))
        whole = task.quality(outputs.of_reference())
        assert found.against_float.difference == pytest.approx(found[task.counted] - whole[task.counted])

    def test_values_per_image_have_the_metric_as_their_mean(self, task: Task, outputs: Outputs) -> None:
        known = task.arithmetic.outputs(outputs)
        for metric in self.metrics(task):
            each = metric.values_per_image(known)
            if each is not None:
                assert each.shape == (IMAGES,)
                assert metric.value(known) == pytest.approx(float(each.mean()), abs=1e-9), metric.name

    def test_images_in_another_order_are_worth_the_same(self, task: Task, outputs: Outputs) -> None:
        order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1))
        names = [metric.name for metric in self.metrics(task)]
        found, again = task.quality(outputs, names), task.quality(outputs.take(order), names)
        assert dict(again.values) == pytest.approx(dict(found.values), rel=1e-5)

    def test_the_float_model_expects_no_other_model_to_be_better(self, task: Task, outputs: Outputs) -> None:
        known = task.arithmetic.outputs(outputs)
        temperature = task.arithmetic.temperature(known.of_reference())
        assert 0.01 <= temperature <= 100.0
        for scale in (temperature, 10.0 * temperature):
            own, fair = (
                task.arithmetic.expected_right(values, known.reference, scale)
                for values in (known.reference, known.values)
            )
            assert own.shape == fair.shape == (IMAGES,)
            assert bool(((fair >= 0.0) & (fair <= own) & (own <= 1.0)).all())
            told = task.quality(dataclasses.replace(outputs, temperature=lambda scale=scale: scale))
            assert told.expected_difference == pytest.approx(100.0 * float((fair - own).mean()))
            assert told.expected_difference < 0.0

    def test_every_metric_has_an_error(self, task: Task, outputs: Outputs) -> None:
        known = task.arithmetic.outputs(outputs)
        means = [metric for metric in self.metrics(task) if metric.per_image is not None]
        for name, errors in standard_errors(known, means).items():
            assert errors.value > 0.0, name
            assert math.isfinite(errors.difference), name
        others = [metric for metric in self.metrics(task) if metric.per_image is None]
        own, whole = (resampled(part, others, 10) for part in (known, known.of_reference()))
        assert bool((own.std(-1) > 0.0).all())
        assert bool((own != whole).any(-1).all())
