"""Formats of the parts of a pipeline: what is read, and genomes that stand for assignments."""

from __future__ import annotations

import numpy as np
import pytest

from bitfront.spaces import UserError
from bitfront.spaces.part_formats import FormatSpace, parse_formats

COMPONENTS = (("unet", ("unet.a", "unet.b")), ("vae", ("vae",)))


@pytest.fixture
def space() -> FormatSpace:
    return FormatSpace("small", COMPONENTS, parse_formats("fp32,int8,int4w"))


def test_formats_stand_from_narrow_to_wide() -> None:
    assert parse_formats(" fp32, int4w,int8") == ("int4w", "int8", "fp32")


@pytest.mark.parametrize("text", ["fp32", "fp32,fp32", "fp32,int3"])
def test_what_is_no_list_of_formats_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="fp32"):
        parse_formats(text)


def test_genomes_are_assignments(space: FormatSpace) -> None:
    assert (len(space), space.cardinality) == (3, 27)
    config = space.decode(np.array([0, 1, 2]))
    assert config.formats == (("unet.a", "int4w"), ("unet.b", "int8"), ("vae", "fp32"))
    assert config.label == "1 int4w + 1 int8 + 1 fp32"
    assert space.bits(np.array([0, 1, 2])) == dict(config.formats)


def test_one_format_everywhere_or_in_one_component(space: FormatSpace) -> None:
    assert space.uniform("int8") == (1, 1, 1)
    assert space.uniform("int8", "vae") == (2, 2, 1)
    assert space.decode(np.array(space.uniform("int8"))).label == "int8"


def test_digests_tell_assignments_apart(space: FormatSpace) -> None:
    rows = [space.decode(row) for row in space.sample(np.random.default_rng(0), 20)]
    assert len({row.digest for row in rows}) == len({row.formats for row in rows})
