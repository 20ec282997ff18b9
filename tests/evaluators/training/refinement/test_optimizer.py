"""The rates of each kind of parameter, and what is kept of an optimizer."""

from __future__ import annotations

import torch
from torch import nn

from bitfront.evaluators.training.refinement.optimizer import Optimizer

RATES = {"latent": 0.1, "bias": 0.01}


def parameters() -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(torch.ones(3)) for name in ("layer.latent", "layer.bias")}


def moved(named: dict[str, nn.Parameter], optimizer: Optimizer, number: int) -> dict[str, float]:
    """How far each goes in a step down a slope."""
    before = {name: float(value.detach()[0]) for name, value in named.items()}
    optimizer.step(number, torch.stack([value.sum() for value in named.values()]).sum())
    return {name: before[name] - float(value.detach()[0]) for name, value in named.items()}


def test_each_kind_has_its_rate_which_rises_and_falls() -> None:
    named = parameters()
    optimizer = Optimizer(named, RATES, 2.0, steps=10, warm=2)
    first, second, *_, last = (moved(named, optimizer, number) for number in range(10))
    assert abs(first["layer.latent"] - 0.1) < 1e-4
    assert abs(first["layer.bias"] - 0.01) < 1e-5
    assert second["layer.latent"] > 1.5 * first["layer.latent"]
    assert last["layer.latent"] < 0.1 * second["layer.latent"]


def test_what_it_kept_goes_on_alike() -> None:
    named, others = parameters(), parameters()
    optimizer = Optimizer(named, RATES, 1.0, steps=4, warm=1)
    assert optimizer.state() == {}
    moved(named, optimizer, 0)
    other = Optimizer(others, RATES, 1.0, steps=4, warm=1)
    other.restore(optimizer.state())
    with torch.no_grad():
        for name, value in others.items():
            value.copy_(named[name])
    moved(named, optimizer, 1)
    moved(others, other, 1)
    for name, value in others.items():
        assert torch.equal(value, named[name])
