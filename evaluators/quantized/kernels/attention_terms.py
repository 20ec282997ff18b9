"""What an attention kernel needs to know of one encoder: shape, windows, scales, grids, exponentials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.models.parts import with_last_token
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid

# Values of logarithmic codes are whole numbers, in two bytes, of this unit's inverse.
UNIT = 2.0**15
# Those of minifloats are their codes in the upper byte.
UPPER_BYTE = 1 << 8

# Dekker's splitting of a float64 with this factor leaves one significant bit, changing powers of two at
# 1.5 * 2^k; the second factor moves the change to sqrt(2) * 2^k, where rounding log2 has it.
ONE_BIT = 2.0**52 + 1.0
HALFWAY = 1.5 / math.sqrt(2.0)
# exp(p) for p in (-ln 2, 0] by 0.35815147 p^2 + 0.96963238 p + 1 (I-BERT, arXiv 2101.01321, and FQ-ViT).
COEFFICIENTS = (0.35815147, 0.96963238, 1.0)
LARGEST_SHIFT = 30
# Score steps are split so finely that ln 2 has at least this many of them: a coarser grid would round
# ln 2 itself badly.
STEPS_PER_LN2 = 64
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, eq=False)
class IntegerScores:
    """Score codes and their integer exponentials.

    Attributes:
        zero_point: Score code of zero.
        qmax: Largest score code, at most 255.
        table: Integers proportional to the exponential of a difference between the largest code of a row and
            a code, int64 ``[qmax + 1]``, falling; a row's sum stays below 2^63.
    """

    zero_point: int
    qmax: int
    table: torch.Tensor


@dataclass(frozen=True, eq=False)
class AttentionTerms:
    """The attention of one encoder at chosen widths.

    The codes of queries, keys and values share one grid. A row of scores ``acc * factor + bias``, with the
    factor of its head, goes through the softmax; its probabilities become uniform codes
    ``clip(round(p / attention_scale))``, or logarithmic ones: ``c = round(-log2(p) / log_step)``, the smaller
    one at a tie, stands for ``2^(-c log_step)`` rounded to a multiple of ``2^-15``, and for 0 where
    ``c >= attention_codes``. Minifloats are looked up as logarithmic codes are, by the least probability of
    each: the value of a code is the code over ``2^7``, in units of ``attention_scale``. With the integer
    softmax the scores are codes, ``clip(round(acc * factor + bias) + zero_point, 0, qmax)``.

    Attributes:
        heads: Number of heads.
        head_dim: Channels of one head.
        rows: Token of the image at each position of each window, int32 ``[windows, n]``; one window of all
            tokens in their order for global attention. Every token occurs once.
        bias: Added to the scaled products, ``[heads, n, n]``; None without. In score steps and float64 for
            the integer softmax, float32 for the float one.
        mask: True where a query must not see a key, bool ``[windows, n, n]``; every query sees some key.
        qkv_zero: Zero point of the codes of queries, keys and values.
        factors: From each head's integer products ``q k^T`` to score steps (integer softmax) or scores
            (float softmax), float64 ``[heads]``.
        softmax: The integer softmax; None for the float32 one.
        attention_scale: Probability that a uniform code of 1, or a value of 1, stands for.
        attention_codes: Number of attention codes, ``2^bits``, at most 256; at most 16 if logarithmic.
        logarithmic: Whether attention codes are logarithmic.
        out_factor: From sums ``attention @ v`` of codes (of values if logarithmic) to output steps.
        out_zero: Zero point of the output codes.
        out_qmax: Largest output code.
        log_step: Binary logarithm of the base of logarithmic codes, above 0 and at most 4.
        padding: Codes of query, key and value where no token is, uint8 ``[3 * heads * head_dim]``; None where
            tokens fill all windows.
        minifloats: The grid of codes that are minifloats, ``logarithmic`` being set; None for others.
    """

    heads: int
    head_dim: int
    rows: torch.Tensor
    bias: torch.Tensor | None
    mask: torch.Tensor | None
    qkv_zero: int
    factors: torch.Tensor
    softmax: IntegerScores | None
    attention_scale: float
    attention_codes: int
    logarithmic: bool
    out_factor: float
    out_zero: int
    out_qmax: int
    log_step: float = 1.0
    padding: torch.Tensor | None = None
    minifloats: MinifloatGrid | None = None

    def padded(self, qkv: torch.Tensor, batch: int) -> torch.Tensor:
        """``qkv [batch * tokens, width]`` with the padding as each image's last token."""
        if self.padding is None:
            return qkv
        return with_last_token(qkv.view(batch, -1, qkv.shape[-1]), self.padding).flatten(0, 1)

    def unpadded(self, context: torch.Tensor, batch: int) -> torch.Tensor:
        """What attention made of :meth:`padded` codes, without each image's last token."""
        if self.padding is None:
            return context
        return context.view(batch, -1, context.shape[-1])[:, :-1].flatten(0, 1)

    @property
    def windows(self) -> int:
        """Windows of one image."""
        return self.rows.shape[0]

    @property
    def window_tokens(self) -> int:
        """Tokens of one window, ``n``."""
        return self.rows.shape[1]

    @property
    def by_thresholds(self) -> bool:
        """Whether logarithmic codes are found by the least probability of each, and not by its exponent."""
        return self.logarithmic and (self.minifloats is not None or self.log_step != 1.0)

    @property
    def log_thresholds(self) -> list[float]:
        """Smallest probability of each logarithmic code, falling."""
        if self.minifloats is not None:
            # Of the code of zero, too, as there is one for each.
            return self._of_every_code([0.0, *self.minifloats.borders])
        return [2.0 ** (-(code + 0.5) * self.log_step) for code in range(self.attention_codes)]

    @property
    def log_values(self) -> list[int]:
        """Value of each logarithmic code, in units of ``2^-15``."""
        if self.minifloats is not None:
            return self._of_every_code([UPPER_BYTE * int(code) for code in self.minifloats.codes])
        return [round(UNIT * 2.0 ** (-code * self.log_step)) for code in range(self.attention_codes)]

    def _of_every_code(self, rising: list[_Number]) -> list[_Number]:
        """The same falling, the last one repeated where fewer codes are taken than there are."""
        return rising[::-1] + rising[:1] * (self.attention_codes - len(rising))


def integer_exponentials(scale: float, differences: int) -> NDArray[np.int64]:
    """Integers proportional to ``exp(-d * scale)`` for ``d = 0 .. differences - 1``.

    ``-d * scale = -z ln 2 + p`` with integer ``z``; the polynomial in ``p`` is evaluated in integers and
    shifted by ``30 - z``.

    Args:
        scale: Difference of the softmax's input between neighbouring codes.
        differences: Number of code differences, such as 256.

    Returns:
        int64 ``[differences]``, falling, zero where the exponential is below ``2^-30``.
    """
    split = max(0, math.ceil(math.log2(scale * STEPS_PER_LN2 / math.log(2.0))))
    fine = math.ldexp(scale, -split)
    a, b, c = COEFFICIENTS
    ln2, linear, constant = (
        math.floor(value) for value in (math.log(2) / fine, b / (a * fine), c / (a * fine**2))
    )
    x = np.arange(differences, dtype=np.int64) << split
    z = np.minimum(x // ln2, LARGEST_SHIFT + 1)
    remainder = -(x - z * ln2)
    polynomial = (remainder + linear) * remainder + constant
    shifted = (polynomial << LARGEST_SHIFT) >> z
    return np.where(z > LARGEST_SHIFT, 0, shifted)
