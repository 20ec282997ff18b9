"""Integers side by side in bytes, against a string of their binary digits."""

from __future__ import annotations

import pytest
import torch

from bitfront.evaluators.packed.bits import pack, unpack

WIDTHS = tuple(range(1, 9))


def drawn(bits: int, count: int, *, signed: bool) -> torch.Tensor:
    low = -(1 << (bits - 1)) if signed else 0
    kind = torch.int8 if signed else torch.uint8
    generator = torch.Generator().manual_seed(bits * count + signed)
    return torch.randint(low, low + (1 << bits), (count,), generator=generator).to(kind)


def packed_by_hand(values: torch.Tensor, bits: int) -> list[int]:
    """The bytes whose binary digits, the last byte first, are those of the values, the last value first."""
    digits = "".join(format(value % (1 << bits), f"0{bits}b") for value in reversed(values.tolist()))
    digits = digits.zfill(-(-len(digits) // 8) * 8)
    return [int(digits[i : i + 8], 2) for i in range(0, len(digits), 8)][::-1]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("count", [1, 7, 8, 9, 131])
def test_digits_by_hand(bits: int, count: int, signed: bool) -> None:
    values = drawn(bits, count, signed=signed)
    packed = pack(values, bits)
    assert packed.dtype == torch.uint8
    assert packed.tolist() == packed_by_hand(values, bits)
    found = unpack(packed, bits, count, signed=signed)
    assert found.dtype == values.dtype
    assert torch.equal(found, values)


def test_the_first_of_two_nibbles_is_the_low_one() -> None:
    assert pack(torch.tensor([1, -2, 7], dtype=torch.int8), 4).tolist() == [0xE1, 0x07]


def test_rows_follow_one_another() -> None:
    rows = drawn(4, 15, signed=True).view(3, 5)
    assert torch.equal(pack(rows, 4), pack(rows.flatten(), 4))
    turned = rows.T  # not contiguous
    assert torch.equal(pack(turned, 4), pack(turned.flatten(), 4))


def test_nothing_packs_to_nothing() -> None:
    packed = pack(torch.zeros(0, dtype=torch.int8), 4)
    assert packed.shape == (0,)
    assert unpack(packed, 4, 0, signed=True).shape == (0,)


@pytest.mark.parametrize(("bits", "count"), [(4, 3), (3, 5), (7, 9)])
def test_bits_behind_the_last_value_are_refused(bits: int, count: int) -> None:
    packed = pack(drawn(bits, count, signed=False), bits)
    packed[-1] |= 1 << 7
    with pytest.raises(ValueError, match=f"behind its {count} values of {bits} bits are not 0"):
        unpack(packed, bits, count, signed=False)
