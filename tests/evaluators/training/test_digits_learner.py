"""What the digits models learn from beside the labels of their images."""

from __future__ import annotations

import torch

from bitfront.evaluators.training.digits_images import ReadingBatch
from bitfront.evaluators.training.digits_learner import _of_tokens


def test_tokens_are_told_the_digit_at_their_middle() -> None:
    within = torch.full((1, 36, 36), -1)
    within[0, 8:20, 4:12], within[0, :8, 28:] = 0, 2
    batch = ReadingBatch(torch.zeros(1, 1, 36, 36), torch.tensor([[7, 1, 5]]), within)
    labels = _of_tokens(batch, torch.zeros(1, 82, 128)).view(9, 9)
    assert labels.unique().tolist() == [7, 25, 30]
    assert (labels[2:5, 1:3] == 7).all()
    assert (labels[:2, 7:] == 25).all()
    assert int((labels != 30).sum()) == 6 + 4
    windows = _of_tokens(batch, torch.zeros(1, 6, 6, 128)).view(6, 6)
    assert windows[1:3, 1].tolist() == [7, 7]
