"""Number formats: names, order, what kinds may take, and the ways in which they are written."""

from __future__ import annotations

import itertools
import math

import pytest

from bitfront.spaces import (
    FORMATS,
    KINDS,
    Choices,
    UserError,
    parse_fixed,
    parse_formats,
    parse_uniform,
    triples,
)
from bitfront.spaces.formats import in_order, label, plain_width, read_format, titled, written_format

TEXTS = ("weights=int4,int8,int8a,bf16", "activations=int8,bf16")


def test_plain_integers_go_by_their_width_and_others_by_name() -> None:
    assert [FORMATS[bits].name for bits in range(2, 9)] == [f"int{bits}" for bits in range(2, 9)]
    others = [value for value in FORMATS if isinstance(value, str)]
    assert others == [*(f"int{bits}a" for bits in range(2, 9)), "bf16", "fp16", "fp32"]
    assert all(FORMATS[value].key == value for value in FORMATS)
    assert [FORMATS[value].plain for value in (8, "int8a", "bf16")] == [True, False, False]


def test_labels_and_titles_are_each_of_one_format() -> None:
    for name in ("label", "title"):
        assert len({getattr(found, name) for found in FORMATS.values()}) == len(FORMATS)
    assert [FORMATS[value].label for value in (8, "int8a", "bf16")] == ["8", "8a", "bf16"]
    assert FORMATS[8].title == "8 bits"
    assert FORMATS["int8a"].title == "8 bits, zero points"
    assert FORMATS["bf16"].title == "bfloat16"


def test_order_is_narrow_to_wide_and_plain_integers_come_first() -> None:
    assert in_order(["bf16", 8, "int4a", "fp32", "int8a", 4, 8, "fp16"]) == (
        *(4, "int4a", 8, "int8a"),
        *("bf16", "fp16", "fp32"),
    )


@pytest.mark.parametrize(
    ("values", "words"), [([8, 4], "4, 8 bits"), ([8], "8 bits"), (["bf16", 8], "8 bits, bfloat16")]
)
def test_formats_in_words(values: list[int | str], words: str) -> None:
    assert titled(values) == words


def test_formats_by_kind_are_read() -> None:
    found = parse_formats(TEXTS, (4, 8))
    assert found == Choices((4, 8, "int8a", "bf16"), (8, "bf16"), (4, 8))
    assert found.every == (4, 8, "int8a", "bf16")
    assert not found.plain
    assert not found.same
    assert found.words == "weights 4, 8, int8a, bf16; activations 8, bf16; attention 4, 8"
    assert parse_formats(found.texts, ()) == found


def test_no_formats_are_those_of_the_widths() -> None:
    found = parse_formats((), (4, 8))
    assert found == Choices.alike((8, 4, 8))
    assert found.plain
    assert found.same
    assert found.words == "4, 8"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("weights", "write each of weights, activations, attention once"),
        ("biases=int8", "write each of weights, activations, attention once"),
        ("weights=int9", "'int9' is no format: choose among int2, int3"),
        ("weights=8", "'8' is no format"),
        ("weights=", "'' is no format"),
        ("activations=int8a", "activations cannot be int8a: choose among whole numbers from 2 to 8 and bf16"),
        ("attention=int4a", "attention cannot be int4a"),
    ],
)
def test_other_texts_are_refused_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_formats([text], (4, 8))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kind_is_named_once() -> None:
    with pytest.raises(UserError, match="once"):
        parse_formats(["weights=int4", "weights=int8"], (4, 8))


@pytest.mark.parametrize(
    ("text", "triple"),
    [
        ("W8aA8Tbf16", ("int8a", 8, "bf16")),
        ("w4ab16", None),
        ("wbf16abf16tbf16", ("bf16", "bf16", "bf16")),
        ("W4aAfp16T4", ("int4a", "fp16", 4)),
        ("Wfp32Afp32Tfp32", ("fp32", "fp32", "fp32")),
        ("W8AA8T8", ("int8a", 8, 8)),
        ("W8A8aT8", None),
    ],
)
def test_uniform_assignments(text: str, triple: tuple[int | str, ...] | None) -> None:
    if triple is None:
        with pytest.raises(UserError, match=text):
            parse_uniform(text)
    else:
        assert parse_uniform(text) == triple


def test_every_assignment_has_a_label_that_is_read_again() -> None:
    by_kind = [[value for value in FORMATS if kind in FORMATS[value].kinds] for kind in KINDS]
    for triple in itertools.product(*by_kind):
        for text in (label(triple), label(triple).lower(), label(triple).upper()):
            assert parse_uniform(text) == triple


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("A8Tbf16", {"activations": 8, "attention": "bf16"}),
        ("w8a", {"weights": "int8a"}),
        ("W8aAbf16", {"weights": "int8a", "activations": "bf16"}),
    ],
)
def test_held_formats(text: str, fixed: dict[str, int | str]) -> None:
    assert dict(parse_fixed(text)) == fixed


@pytest.mark.parametrize("text", ["A8a", "Wbf17", "T8aA8", "Wint8"])
def test_other_held_formats_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--hold"):
        parse_fixed(text)


@pytest.mark.parametrize(
    ("cell", "value"),
    [(8.0, 8), ("8", 8), ("8.0", 8), ("int8a", "int8a"), (math.nan, None), (None, None), ("", None)],
)
def test_cells_of_tables(cell: object, value: int | str | None) -> None:
    assert written_format(cell) == value


@pytest.mark.parametrize("cell", ["bf17", 9.0, "int8", 3.5])
def test_cells_that_are_no_format_are_refused(cell: object) -> None:
    with pytest.raises(ValueError, match="is no number format"):
        written_format(cell)


def test_values_of_documents() -> None:
    assert [read_format(value, "weights", "here") for value in (4, "int8a", "bf16", "int8")] == [
        *(4, "int8a", "bf16", 8)
    ]
    for value in (9, True, 4.0, "8", None, "int9a"):
        with pytest.raises(UserError, match="here is"):
            read_format(value, "weights", "here")
    with pytest.raises(UserError, match="one of bf16, fp16, fp32"):
        read_format("int8a", "activations", "here")


def test_what_takes_plain_integers_alone_says_so() -> None:
    assert plain_width(4, "refining") == 4
    with pytest.raises(UserError, match="refining takes plain integers of 2 to 8 bits, not bf16"):
        plain_width("bf16", "refining")


def test_combinations_begin_with_the_widest() -> None:
    choices = Choices((8, "bf16", 4), (8,), (8, "bf16"))
    assert triples(choices) == [
        *(("bf16", 8, "bf16"), ("bf16", 8, 8)),
        *((8, 8, "bf16"), (8, 8, 8)),
        *((4, 8, "bf16"), (4, 8, 8)),
    ]
    assert triples((4, 8))[0] == (8, 8, 8)
    assert len(triples((4, 8))) == 8
