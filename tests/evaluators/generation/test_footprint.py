"""What parts take on the disk and in the memory of another process."""

from __future__ import annotations

import pytest
from generation_cases import class_bench

from bitfront.evaluators.generation.footprint import Footprint, footprint


@pytest.mark.thorough
def test_narrow_parts_take_less_of_the_disk() -> None:
    bench = class_bench()
    whole, narrow = (footprint(bench, bench.everywhere(name)) for name in ("fp32", "int4w"))
    assert sum(narrow.held.values()) < sum(whole.held.values())
    assert set(whole.disk) == {"transformer", "vae"}
    assert whole.peak > 10 * 1024 * 1024
    assert Footprint.from_json(whole.to_json()) == whole
