"""Codes replaced by levels, by permuting registers and one by one."""

from __future__ import annotations

import pytest
import torch

from bitfront.evaluators.quantized.kernels import lookup
from bitfront.evaluators.quantized.kernels.lookup import replace_codes
from bitfront.evaluators.quantized.kernels.vnni import vnni_available


@pytest.mark.parametrize("permuting", [True, False])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_codes_become_their_levels_and_nothing_around_them(
    monkeypatch: pytest.MonkeyPatch, count: int, permuting: bool
) -> None:
    if permuting and not vnni_available():
        pytest.skip("this CPU has no AVX512-VNNI with VBMI")
    monkeypatch.setattr(lookup, "vnni_available", lambda: permuting)
    generator = torch.Generator().manual_seed(count)
    codes = torch.randint(0, 256, (count + 2,), generator=generator, dtype=torch.uint8)
    levels = torch.randperm(256, generator=generator).to(torch.uint8)
    wanted = codes.clone()
    wanted[1:-1] = levels[codes[1:-1].long()]
    got = replace_codes(codes[1:-1], levels)
    assert torch.equal(got, wanted[1:-1])
    assert torch.equal(codes, wanted)
