"""The spec of a refinement: what it refuses, and its JSON form."""

from __future__ import annotations

from typing import Any

import pytest

from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.spaces import UserError


def test_json_gives_the_spec_back() -> None:
    spec = RefinementSpec(encoder_passes=0, passes=3, batch=8, rate=0.5, held_out=20, seed=4, threads=1)
    assert RefinementSpec.from_json(spec.to_json()) == spec
    assert RefinementSpec.from_json({}) == RefinementSpec()


@pytest.mark.parametrize("document", [None, [], {"unknown": 1}, {"passes": 0}, {"rate": "much"}])
def test_other_documents_are_refused(document: Any) -> None:
    with pytest.raises(UserError):
        RefinementSpec.from_json(document)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("passes", 0),
        ("encoder_passes", -1),
        ("batch", -1),
        ("rate", 0.0),
        ("rate", float("nan")),
        ("held_out", 1),
        ("threads", 0),
    ],
)
def test_values_out_of_range_are_named(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"--{field.replace('_', '-')}"):
        RefinementSpec(**{field: value}).check()


@pytest.mark.parametrize(("images", "judging"), [(500, 62), (40, 16), (5000, 64)])
def test_an_eighth_of_the_images_judges(images: int, judging: int) -> None:
    assert RefinementSpec().held_out_of(images) == judging


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match="31 images are too few"):
        RefinementSpec().held_out_of(31)
    with pytest.raises(UserError, match="of which 90 judge: give at least 106"):
        RefinementSpec(held_out=90).held_out_of(100)
