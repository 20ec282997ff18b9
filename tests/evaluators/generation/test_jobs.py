"""Prompts, and noise that is that of its seed alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bitfront.evaluators.generation.jobs import initial_latents, jobs_of, read_prompts
from bitfront.spaces import UserError


def test_prompts_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\n a dog \n", encoding="utf-8")
    assert read_prompts(path) == ("a cat", "a dog")


@pytest.mark.parametrize(
    ("text", "told"), [("a\n\nb\n", "line 2 is empty"), ("", "is empty"), ("a\na\n", "line 2")]
)
def test_other_files_get_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        read_prompts(path)


def test_a_missing_file_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file of prompts"):
        read_prompts(tmp_path / "none.txt")


def test_noise_does_not_depend_on_what_is_made_beside() -> None:
    jobs = jobs_of([("a", "a"), ("b", "b")], (1, 2))
    together, _ = initial_latents(jobs, (2, 3))
    alone, _ = initial_latents(jobs[1:2], (2, 3))
    assert torch.equal(together[1:2], alone)
    assert [job.seed for job in jobs] == [1, 2, 1, 2]
    assert torch.equal(together[0], together[2])
