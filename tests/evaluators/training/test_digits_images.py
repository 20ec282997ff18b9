"""Distortions of scans: none, a shift, and what is drawn."""

from __future__ import annotations

import torch

from bitfront.evaluators.training.digits_images import Distortion


class TestDistortion:
    def test_none_is_the_identity(self) -> None:
        pixels = torch.rand(3, 1, 16, 16) * 255
        still = Distortion(rotation=0, scale=0, shear=0, shift=0, contrast=0)
        moved = still.apply(pixels, torch.Generator().manual_seed(0))
        torch.testing.assert_close(moved, pixels, rtol=1e-4, atol=1e-2)

    def test_a_shift_is_a_share_of_the_side(self) -> None:
        pixels = torch.zeros(1, 1, 16, 16)
        pixels[0, 0, 8, 8] = 255.0
        shift = Distortion(rotation=0, scale=0, shear=0, shift=0.25, contrast=0)
        for seed in range(20):
            moved = shift.apply(pixels, torch.Generator().manual_seed(seed))[0, 0]
            rows, columns = torch.nonzero(moved > 1.0, as_tuple=True)
            assert int((rows - 8).abs().max()) <= 5
            assert int((columns - 8).abs().max()) <= 5

    def test_every_image_moves_differently_within_the_byte_range(self) -> None:
        pixels = torch.full((4, 1, 16, 16), 255.0)
        moved = Distortion().apply(pixels, torch.Generator().manual_seed(0))
        assert moved.min() >= 0.0
        assert moved.max() <= 255.0
        assert not torch.equal(moved[0], moved[1])
