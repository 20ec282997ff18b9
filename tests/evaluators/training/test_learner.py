"""A step of a training: the average of the weights, parts of a batch, the schedule, losses of each kind."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from bitfront.evaluators.models.digits_models import build_digits
from bitfront.evaluators.training.digits import initial_model
from bitfront.evaluators.training.images import Batch
from bitfront.evaluators.training.learner import Learner
from bitfront.evaluators.training.model import freeze_prefix
from bitfront.evaluators.training.recipe import TrainingRecipe
from bitfront.spaces import BitfrontError

CONFIG = {"input_size": (1, 16, 16), "mean": (0.3,), "std": (0.3,)}


def learner(
    module: torch.nn.Module | None = None, steps: int = 6, multiple: bool = False, **recipe: Any
) -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = module or initial_model("digits_deit", 10)
    asked = TrainingRecipe(**{"learning_rate": 1e-3, "warmup_epochs": 0.0, "precision": "float32", **recipe})
    return Learner(module, asked.settled(False, (1, 16, 16)), CONFIG, steps, steps, multiple)


def batch(count: int = 8, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 16, 16), generator=generator).float()
    return Batch(pixels, torch.randint(10, (count,), generator=generator), torch.arange(count))


class TestAverage:
    def test_is_the_recurrence(self) -> None:
        """m_t = b m_(t-1) + (1 - b) theta_t from m_0 = theta_0, in float64 beside."""
        found = learner(ema_decay=0.9)
        name = "blocks.3.attn.qkv.weight"
        expected = found.module.get_parameter(name).detach().double().numpy().copy()
        for step in range(4):
            found.learn(batch(seed=step))
            theta = found.module.get_parameter(name).detach().double().numpy()
            expected = 0.9 * expected + 0.1 * theta
        average = found.average.module.get_parameter(name).detach().double().numpy()
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-8)
        assert np.abs(average - theta).max() > 1e-5

    def test_none_where_it_is_not_wanted(self) -> None:
        assert learner(ema_decay=0.0).average is None

    def test_a_warm_up_forgets_the_start_sooner(self) -> None:
        slow, quick = learner(ema_decay=0.999), learner(ema_decay=0.999, ema_warmup=True)
        for step in range(3):
            slow.learn(batch(seed=step))
            quick.learn(batch(seed=step))
        theta = slow.module.get_parameter("head.weight")
        distances = [
            float((found.average.module.get_parameter("head.weight") - theta).abs().max().detach())
            for found in (slow, quick)
        ]
        assert distances[1] < 0.7 * distances[0]


class TestStep:
    def test_learns(self) -> None:
        found = learner(steps=8)
        losses = [found.learn(batch()) for _ in range(8)]
        assert losses[-1] < losses[0] - 0.05

    def test_parts_of_a_batch_add_up(self) -> None:
        whole, parts = learner(), learner(accumulate=3)
        assert whole.learn(batch()) == pytest.approx(parts.learn(batch()), rel=1e-5)
        for name, value in whole.module.state_dict().items():
            torch.testing.assert_close(parts.module.state_dict()[name], value, rtol=1e-3, atol=2e-5)

    def test_frozen_encoders_stay_to_the_bit(self) -> None:
        module = initial_model("digits_deit", 10)
        freeze_prefix(module, 4)
        before = copy.deepcopy(module.state_dict())
        found = learner(module)
        for step in range(2):
            found.learn(batch(seed=step))
        after = found.module.state_dict()
        same = {name for name in before if torch.equal(before[name], after[name])}
        frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
        assert frozen <= same
        assert "blocks.4.attn.qkv.weight" not in same
        average = found.average.module.state_dict()
        assert all(torch.equal(average[name], before[name]) for name in frozen)

    def test_a_loss_that_is_no_number_ends_it(self) -> None:
        found = learner()
        with torch.no_grad():
            found.module.get_parameter("head.bias").fill_(float("nan"))
        with pytest.raises(
            BitfrontError, match="the loss is nan at step 1 of 6: give a smaller --learning-rate"
        ):
            found.learn(batch())

    def test_the_schedule_rises_and_ends_at_the_last_step(self) -> None:
        found = learner(steps=10, warmup_epochs=0.3, ema_decay=0.0)
        rates = []
        for step in range(10):
            found.learn(batch(count=2, seed=step))
            rates.append(found.last_rate)
        assert rates[:4] == pytest.approx([1e-6, 3.34e-4, 6.67e-4, 1e-3], rel=1e-2)
        expected = [1e-3 * 0.5 * (1 + np.cos(np.pi * t / 7)) for t in range(7)]
        assert rates[3:] == pytest.approx(expected, rel=1e-6)

    def test_what_it_goes_on_from_is_all(self) -> None:
        whole, other = learner(), learner()
        for step in range(2):
            whole.learn(batch(seed=step))
        other.load_state(copy.deepcopy(whole.state()))
        for step in range(2, 4):
            assert whole.learn(batch(seed=step)) == other.learn(batch(seed=step))
        for name, value in whole.module.state_dict().items():
            assert torch.equal(value, other.module.state_dict()[name])
            assert torch.equal(
                whole.average.module.state_dict()[name], other.average.module.state_dict()[name]
            )


class TestLosses:
    def test_labels_are_smoothed(self) -> None:
        found, given = learner(label_smoothing=0.2), batch()
        logits = found.module((given.pixels / 255 - 0.3) / 0.3).log_softmax(-1)
        hard = -logits[torch.arange(8), given.labels]
        expected = (0.8 * hard - 0.2 * logits.mean(-1)).mean()
        assert float(found.loss(given)) == pytest.approx(float(expected), rel=1e-4)

    def test_any_number_of_labels(self) -> None:
        found = learner(build_digits("digits_deit", classes=4), multiple=True, label_smoothing=0.0)
        given = batch()._replace(labels=torch.tensor([[1, 0, 1, 0]] * 8))
        p = found.module((given.pixels / 255 - 0.3) / 0.3).sigmoid()
        expected = -(torch.where(given.labels > 0, p, 1 - p)).log().mean()
        assert float(found.loss(given)) == pytest.approx(float(expected), rel=1e-4)


class TestPrecision:
    def test_what_is_asked_for(self) -> None:
        for asked in ("float32", "bf16"):
            found = learner(precision=asked)
            assert found.choose_precision(batch()) == asked
            assert found.autocast == (asked == "bf16")

    def test_measuring_changes_no_weights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from bitfront.evaluators.training import learner as module

        monkeypatch.setattr(module, "cpu_flags", lambda: frozenset({"amx_bf16"}))
        found = learner(precision="auto")
        before = copy.deepcopy(found.state())
        assert "measured: bf16 is" in found.choose_precision(batch())
        after = found.state()
        assert all(torch.equal(before["module"][name], after["module"][name]) for name in before["module"])
        assert all(parameter.grad is None for parameter in found.module.parameters())

    def test_where_the_machine_has_none_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from bitfront.evaluators.training import learner as module

        monkeypatch.setattr(module, "cpu_flags", frozenset)
        assert learner(precision="auto").choose_precision(batch()) == "float32"
