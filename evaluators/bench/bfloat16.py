"""Whether this processor computes in bfloat16."""

from __future__ import annotations

from bitfront.evaluators.processor import cpuinfo

# Linux's names on x86 and on ARM.
_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def computes_bfloat16() -> bool:
    """Whether the processor has products of bfloat16; elsewhere they are emulated, slower than float32."""
    return bool(_FLAGS & set((cpuinfo("flags") or cpuinfo("Features")).split()))
