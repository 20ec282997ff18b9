"""Precisions as values, and the two ways users write widths."""

from __future__ import annotations

import pytest

from bitfront.spaces import Precision, UserError, parse_bits, parse_fixed, parse_uniform


@pytest.mark.parametrize(
    ("name", "bits", "signed", "qmin", "qmax"),
    [
        ("int2", 2, True, -2, 1),
        ("int4", 4, True, -8, 7),
        ("int8", 8, True, -128, 127),
        ("uint2", 2, False, 0, 3),
        ("uint4", 4, False, 0, 15),
        ("uint8", 8, False, 0, 255),
    ],
)
def test_names_and_codes(name: str, bits: int, signed: bool, qmin: int, qmax: int) -> None:
    precision = Precision.parse(name)
    assert precision == Precision(bits, signed=signed)
    assert (precision.name, precision.qmin, precision.qmax) == (name, qmin, qmax)


def test_precisions_are_ordered_by_bits() -> None:
    assert sorted([Precision(8, True), Precision(4, False)]) == [Precision(4, False), Precision(8, True)]


@pytest.mark.parametrize("name", ["fp16", "int", "sint8", "int-4", "uint8x", "", "int" + 5000 * "8"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="is not a precision: write int4 or uint8"):
        Precision.parse(name)


@pytest.mark.parametrize("bits", [0, 1, 9, 32])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(UserError, match=f"{bits} bits is not supported: use 2 to 8 bits"):
        Precision(bits, signed=True)


@pytest.mark.parametrize(
    ("text", "widths"),
    [("4,8", (4, 8)), ("8, 4", (4, 8)), ("8,4,8", (4, 8)), ("2,3,6", (2, 3, 6)), ("5", (5,))],
)
def test_bits_come_ascending_without_repeats(text: str, widths: tuple[int, ...]) -> None:
    assert parse_bits(text) == widths


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("3,x", "x"),
        ("", ""),
        ("4,", ""),
        ("4,9", "9"),
        ("1,4", "1"),
        ("4.0", "4.0"),
        ("-4", "-4"),
        (5000 * "8", 5000 * "8"),
    ],
)
def test_bits_that_are_none_are_named(text: str, culprit: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_bits(text)
    message = str(caught.value)
    assert message.startswith(
        f"--bits {text!r}: {culprit!r} is not a bit width; give whole numbers from 2 to 8"
    )
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "bits"), [("W8A8T4", (8, 8, 4)), ("w4a8t8", (4, 8, 8)), (" W2A3T5 ", (2, 3, 5))]
)
def test_uniform_assignments(text: str, bits: tuple[int, int, int]) -> None:
    assert parse_uniform(text) == bits


@pytest.mark.parametrize("text", ["", "W8A8", "8,8,4", "A8W8T4", "W8A8T4x", "WxA8T8", f"W8A{5000 * '8'}T8"])
def test_other_forms_of_uniform_assignments_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a uniform assignment: write W8A8T4"):
        parse_uniform(text)


@pytest.mark.parametrize(("text", "part"), [("W16A8T8", "W16"), ("W8A1T8", "A1"), ("W8A8T0", "T0")])
def test_uniform_widths_out_of_range_are_named(text: str, part: str) -> None:
    with pytest.raises(UserError, match=f"'{text}': {part} is no format of .*: use 2 to 8 bits or"):
        parse_uniform(text)


@pytest.mark.parametrize(
    ("text", "held"),
    [("A8T8", {"activations": 8, "attention": 8}), ("t4", {"attention": 4}), ("W4", {"weights": 4})],
)
def test_held_kinds_are_read(text: str, held: dict[str, int]) -> None:
    assert dict(parse_fixed(text)) == held


@pytest.mark.parametrize("text", ["", "8", "A8A4", "A8X8", "W8A8T8", "A9", "A1", "A8 T8", "A"])
def test_texts_that_hold_nothing_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--hold"):
        parse_fixed(text)
