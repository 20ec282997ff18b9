"""Adam with a rate for each kind of parameter, which rises at first and falls to nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

BETAS = (0.9, 0.99)


class Optimizer:
    """Adam over so many steps.

    Args:
        named: Parameters by name.
        rates: By what a parameter's name ends with: of continuous codes in code steps, of logarithms
            of scales, of biases and norms in their own units.
        factor: Of all of them.
        steps: How many there will be.
        warm: In how many of them the rates rise.
    """

    def __init__(
        self,
        named: Mapping[str, nn.Parameter],
        rates: Mapping[str, float],
        factor: float,
        steps: int,
        warm: int,
    ) -> None:
        self._named, self._steps, self._warm = dict(named), steps, warm
        self._rates = [rates[name.rpartition(".")[2]] * factor for name in named]
        groups = [{"params": [parameter], "lr": 0.0} for parameter in named.values()]
        self._adam = torch.optim.Adam(groups, betas=BETAS, fused=True)

    def step(self, number: int, loss: torch.Tensor) -> None:
        """One step down a loss; ``number`` counts from 0.

        Rates rise over the first steps, and fall by half a cosine over all.
        """
        share = min(1.0, (number + 1) / self._warm) * 0.5 * (1.0 + math.cos(math.pi * number / self._steps))
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        self._adam.zero_grad()
        torch.autograd.backward(loss)
        self._adam.step()

    def state(self) -> dict[str, torch.Tensor]:
        """What the next step depends on beside the parameters, by name; nothing before the first."""
        return {
            f"adam.{name}.{part}": value
            for name, parameter in self._named.items()
            for part, value in self._adam.state.get(parameter, {}).items()
        }

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes up what :meth:`state` gave; KeyError where something is missing."""
        for name, parameter in self._named.items():
            self._adam.state[parameter] = {
                part: state[f"adam.{name}.{part}"].to(parameter.device)
                for part in ("step", "exp_avg", "exp_avg_sq")
            }
