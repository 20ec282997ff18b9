"""Whether data are the ImageNet-1k validation images, as far as their numbers tell."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bitfront.search.session.compare_work import is_imagenet_validation

WHOLE = np.repeat(np.arange(1000), 50)


@pytest.mark.parametrize(
    ("labels", "partition", "expected"),
    [
        (WHOLE, None, True),
        (WHOLE[:-1], None, False),
        (np.zeros(50_000, dtype=np.int64), None, False),
        (np.repeat(np.arange(500), 100), None, False),
        (np.zeros((50_000, 2), dtype=np.int64), None, False),
        (np.concatenate([WHOLE, np.arange(20)]), ["held-out"] * 50_000 + ["train"] * 20, True),
        (np.concatenate([WHOLE, np.arange(20)]), ["held-out"] * 50_020, False),
    ],
)
def test_fifty_images_of_each_of_a_thousand_classes(labels, partition, expected):
    source = SimpleNamespace(labels=labels, partition=None if partition is None else np.array(partition))
    assert is_imagenet_validation(source) is expected
