"""Jobs: the pictures that every format generates, by prompt or class and seed, and their shared noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bitfront.evaluators.files import readable
from bitfront.spaces import UserError

SEEDS = (42, 43, 44)


@dataclass(frozen=True)
class Job:
    """One picture.

    Attributes:
        prompt: The prompt, the class or the file, as people read it.
        condition: The text or number of the class; the place of a photograph.
        seed: Of its noise.
    """

    prompt: str
    condition: str | int
    seed: int

    def generator(self) -> torch.Generator:
        """The noise of this picture, from its beginning, whatever the format."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Sampling:
    """How pictures are sampled.

    Attributes:
        steps: Of the scheduler.
        guidance: Scale of guidance without a classifier (Ho and Salimans 2022); 1 for none.
    """

    steps: int = 20
    guidance: float = 7.5

    @property
    def guided(self) -> bool:
        """Whether every step computes with and without the condition."""
        return self.guidance > 1.0


def read_prompts(path: Path) -> tuple[str, ...]:
    """Prompts of a text file, one a line.

    Raises:
        UserError: The file is missing or has none, or an empty line, or a prompt twice.
    """
    try:
        with readable(path):
            lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no file of prompts: give a text file with one prompt a line") from error
    if not lines:
        raise UserError(f"{path} is empty: write one prompt a line")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise UserError(f"{path}, line {number} is empty: write one prompt a line, and no other lines")
        if line.strip() in [other.strip() for other in lines[: number - 1]]:
            raise UserError(f"{path}, line {number} repeats a prompt: write each once, and use --seeds")
    return tuple(line.strip() for line in lines)


def jobs_of(conditions: Sequence[tuple[str, str | int]], seeds: Sequence[int]) -> tuple[Job, ...]:
    """Every condition with every seed, prompt by prompt."""
    return tuple(Job(prompt, condition, seed) for prompt, condition in conditions for seed in seeds)


def initial_latents(jobs: Sequence[Job], shape: Sequence[int]) -> tuple[torch.Tensor, list[torch.Generator]]:
    """Noise of each job ``[jobs, *shape]``, and the generators that go on from there for its steps."""
    generators = [job.generator() for job in jobs]
    drawn = [torch.randn(tuple(shape), generator=generator) for generator in generators]
    return torch.stack(drawn), generators
