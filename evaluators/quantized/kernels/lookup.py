"""Tables of 256 bytes, looked up 64 positions at a time by permuting registers; codebooks are such tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numpy.typing import NDArray

from bitfront.evaluators.quantized.kernels.compiled import compiled, triton_installed
from bitfront.evaluators.quantized.kernels.lanes import (
    BYTE,
    BYTES,
    INT,
    LINE,
    NONE,
    at,
    call,
    constant,
    every,
    kernel,
    load,
    number,
    store,
)
from bitfront.evaluators.quantized.kernels.vnni import vnni_available

TABLE = 256
Registers = tuple[Any, Any, Any, Any]


def read_table(builder: Any, address: Any) -> Registers:
    """The four registers of the table at an address."""
    a, b, c, d = (load(builder, BYTES, at(builder, address, LINE * i)) for i in range(4))
    return a, b, c, d


def look_up(builder: Any, table: Registers, positions: Any) -> Any:
    """Bytes of a table at 64 positions."""
    name = "llvm.x86.avx512.vpermi2var.qi.512"
    a, b, c, d = table
    low = call(builder, name, BYTES, a, positions, b)
    high = call(builder, name, BYTES, c, positions, d)
    return builder.select(builder.icmp_signed("<", positions, constant(BYTES, 0)), high, low)


@kernel(NONE, INT, INT, INT)
def _replace(builder: Any, codes: Any, count: Any, table: Any) -> None:
    """Replaces ``count`` bytes by the table's bytes at them."""
    registers = read_table(builder, table)
    with every(builder, builder.lshr(count, number(6)), LINE) as offset:
        place = at(builder, codes, offset)
        store(builder, look_up(builder, registers, load(builder, BYTES, place)), place)
    rest = builder.and_(count, number(LINE - 1))
    present = builder.sub(builder.shl(number(1), rest), number(1))
    place = builder.inttoptr(at(builder, codes, builder.sub(count, rest)), BYTE.as_pointer())
    # The oldest forms of masked loads and stores, which every LLVM turns into its own.
    value = call(builder, "llvm.x86.avx512.mask.loadu.b.512", BYTES, place, constant(BYTES, 0), present)
    value = look_up(builder, registers, value)
    call(builder, "llvm.x86.avx512.mask.storeu.b.512", ir.VoidType(), place, value, present)


@compiled
def _replace_by_permuting(codes: int, count: int, codebook: int) -> None:
    _replace(codes, count, codebook)


@compiled
def _replace_one_by_one(codes: NDArray[np.uint8], codebook: NDArray[np.uint8]) -> None:
    for i in range(len(codes)):
        codes[i] = codebook[codes[i]]


def replace_codes(codes: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Replaces codes by the levels of a codebook.

    Args:
        codes: uint8 of any shape, contiguous; overwritten where it is on a CPU.
        codebook: uint8 ``[256]``, on the same device.

    Returns:
        uint8 of the shape of ``codes``.
    """
    if codes.device.type == "cuda" and triton_installed():
        from bitfront.evaluators.quantized.kernels.triton_programs import replaced_codes

        return replaced_codes(codes, codebook)
    if codes.device.type != "cpu":
        return codebook[codes.long()]
    if vnni_available():
        _replace_by_permuting(codes.data_ptr(), codes.numel(), codebook.data_ptr())
    else:
        _replace_one_by_one(codes.view(-1).numpy(), codebook.numpy())
    return codes
