"""The integer exponential of log-int-softmax as a table over score differences."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# exp(p) for p in (-ln 2, 0] by 0.35815147 p^2 + 0.96963238 p + 1 (I-BERT, arXiv 2101.01321, and FQ-ViT).
COEFFICIENTS = (0.35815147, 0.96963238, 1.0)
LARGEST_SHIFT = 30
# Score steps are split so finely that ln 2 has at least this many of them: a coarser grid would round
# ln 2 itself badly.
STEPS_PER_LN2 = 64


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
