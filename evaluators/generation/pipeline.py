"""What a pipeline is: its parts, and how their functions make pictures of jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from bitfront.evaluators.generation.jobs import Job, Sampling, initial_latents
from bitfront.evaluators.generation.parts import Part

# A part as it is called: tensors to a tensor.
Call = Callable[..., torch.Tensor]


class Pipeline(Protocol):
    """Makes pictures by its parts."""

    @property
    def name(self) -> str:
        """For people and names of runs."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The components, in the order of tables."""

    @property
    def channels(self) -> int:
        """Of its pictures."""

    @property
    def sampling(self) -> Sampling:
        """How it is sampled unless told otherwise."""

    @property
    def conditions(self) -> Sequence[tuple[str, str | int]]:
        """What it makes unless told otherwise: texts for people, conditions; none where it must be told."""

    def checked(self, conditions: Sequence[tuple[str, str | int]]) -> None:
        """Raises :class:`UserError` for a condition that the pipeline cannot take."""

    def pictures(self, calls: Mapping[str, Call], jobs: Sequence[Job], sampling: Sampling) -> torch.Tensor:
        """Pictures of jobs, float32 ``[jobs, channels, height, width]`` from 0 to 1.

        Args:
            calls: The parts by name, in whatever arithmetic.
            jobs: What is asked for.
            sampling: How.
        """


def denoised(
    call: Call,
    scheduler: Any,
    jobs: Sequence[Job],
    shape: Sequence[int],
    conditions: tuple[torch.Tensor, torch.Tensor],
    sampling: Sampling,
) -> torch.Tensor:
    """Latents of jobs after all steps, guided where that is asked for.

    Args:
        call: The denoiser.
        scheduler: Of diffusers; its state is that of this loop alone.
        jobs: What is asked for.
        shape: Of the latents of one picture.
        conditions: With what and without what a step is computed, ``[jobs, ...]`` each.
        sampling: Steps and guidance.
    """
    import inspect

    latents: torch.Tensor
    latents, generators = initial_latents(jobs, shape)
    scheduler.set_timesteps(sampling.steps)
    latents = latents * scheduler.init_noise_sigma
    takes_noise = "generator" in inspect.signature(scheduler.step).parameters
    noise: dict[str, Any] = {"generator": generators} if takes_noise else {}
    condition = torch.cat(conditions) if sampling.guided else conditions[0]
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, time)
        scaled = torch.cat([scaled, scaled]) if sampling.guided else scaled
        # Some schedulers stop between the steps that a denoiser was trained on.
        stamp = time.float() if time.is_floating_point() else time.long()
        guess = call(scaled, stamp.expand(len(scaled)), condition)
        if sampling.guided:
            with_it, without = guess.chunk(2)
            guess = without + sampling.guidance * (with_it - without)
        latents = scheduler.step(guess, time, latents, **noise).prev_sample
    return latents
