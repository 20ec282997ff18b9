"""What a candidate's outputs are worth: values by metric, their errors, and paired comparisons."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.tasks.metric import Metric, Outputs

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

_RIGHT, EXPECTED_DIFFERENCE = "right", "expected_difference"

# Resamplings of the images; all of them for so many entries of outputs, fewer for more.
MOST_DRAWS, FEWEST_DRAWS, ENTRIES = 200, 25, 200_000
DRAWS_SEED = 0
# By metric, float64 [count].
Draws = dict[str, "torch.Tensor"]


def standard_error(percent: float, images: int) -> float:
    """Binomial standard error, in percentage points, of a share measured on ``images`` images."""
    share = percent / 100.0
    return 100.0 * math.sqrt(share * (1.0 - share) / images)


@dataclass(frozen=True)
class PairedComparison:
    """A model against a base model on the same images; only those that one of the two gets right count.

    Attributes:
        images: Images that both classified.
        lost: Images that only the base model gets right.
        won: Images that only the model gets right.
    """

    images: int
    lost: int
    won: int

    @property
    def difference(self) -> float:
        """Share of the model less that of the base model, in percentage points; higher is better."""
        return 100.0 * (self.won - self.lost) / self.images

    @property
    def difference_standard_error(self) -> float:
        """Standard error of ``difference``, in percentage points.

        An image adds -1, 0 or 1, so the variance of the mean is ((lost + won)/n - ((won - lost)/n)^2)/n.
        """
        changed = (self.lost + self.won) / self.images
        mean = (self.won - self.lost) / self.images
        return 100.0 * math.sqrt((changed - mean * mean) / self.images)

    @property
    def mcnemar_p(self) -> float:
        """Two-sided p-value of the exact McNemar test, the binomial test of ``lost`` against ``won``.

        How often as lopsided a split would come about if an image were as likely to be lost as won.
        """
        from scipy.special import bdtr

        tail = float(bdtr(min(self.lost, self.won), self.lost + self.won, 0.5))
        return min(1.0, 2.0 * tail)

    def to_json(self, metric: str) -> dict[str, Any]:
        """Counts and figures, under the names that JSON documents use; ``metric`` is the share compared."""
        return {
            "images": self.images,
            "lost": self.lost,
            "won": self.won,
            f"{metric}_difference": self.difference,
            f"{metric}_difference_standard_error": self.difference_standard_error,
            "mcnemar_p": self.mcnemar_p,
        }


@dataclass(frozen=True)
class Quality:
    """What a model's outputs on a split are worth.

    Attributes:
        images: Images that were seen.
        values: By metric, in its unit.
        lost: Images that only the float model gets right.
        won: Images that only this model gets right.
        seconds: Time of the forward passes, in the run that made them.
        right: Which images it gets right, in their order (see :func:`packed`); empty where that is not known.
        expected_difference: By how much the share of images decided right is expected to differ from the
            float model's, in percentage points, if that one's calibrated probabilities are right (see
            :meth:`Judge.expected_right`); None where that is not known.
        known: Whether an earlier run evaluated it, which its ``seconds`` are from, then.
    """

    images: int
    values: Mapping[str, float]
    lost: int
    won: int
    seconds: float
    right: str = ""
    expected_difference: float | None = None
    known: bool = field(default=False, compare=False)

    def __getitem__(self, metric: str) -> float:
        """The value of a metric; KeyError where it was not measured."""
        return self.values[metric]

    @property
    def against_float(self) -> PairedComparison:
        """The comparison with the float model on the same images."""
        return PairedComparison(self.images, self.lost, self.won)

    def figures(self) -> dict[str, float]:
        """Values and counts as columns and documents name them."""
        return {"images": self.images, **self.values, "lost": self.lost, "won": self.won}

    def to_json(self) -> dict[str, Any]:
        """A JSON object; ``right`` and the expected difference only where they are known."""
        document: dict[str, Any] = {**self.figures(), "seconds": self.seconds}
        if self.right:
            document[_RIGHT] = self.right
        if self.expected_difference is not None:
            document[EXPECTED_DIFFERENCE] = self.expected_difference
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Quality:
        """The inverse of :meth:`to_json`; KeyError or ValueError where it is none."""
        try:
            values = {name: float(value) for name, value in document.items() if name != _RIGHT}
            images, lost, won = (int(values.pop(name)) for name in ("images", "lost", "won"))
        except OverflowError as error:
            raise ValueError(f"a number is too large: {error}") from error
        seconds, expected = values.pop("seconds"), values.pop(EXPECTED_DIFFERENCE, None)
        return cls(images, values, lost, won, seconds, str(document.get(_RIGHT, "")), expected)


def packed(flags: NDArray[np.bool_]) -> str:
    """Flags ``[images]`` as text: eight in a byte, compressed (zlib), in base64."""
    import numpy as np

    return base64.b64encode(zlib.compress(np.packbits(flags).tobytes(), 9)).decode("ascii")


def unpacked(text: str, images: int) -> NDArray[np.bool_]:
    """The inverse of :func:`packed` for so many flags; ValueError where it is none of them."""
    import numpy as np

    size, reader = (images + 7) // 8, zlib.decompressobj()
    if size < 1:
        raise ValueError(f"not the packed flags of {images} images")
    try:
        # No more than that is ever made of a text, whatever it is.
        found = reader.decompress(base64.b64decode(text, validate=True), size)
        more = reader.decompress(reader.unconsumed_tail, 1)
    except (zlib.error, OverflowError) as error:
        raise ValueError(f"not packed flags: {error}") from error
    if len(found) != size or more or not reader.eof or reader.unused_data:
        raise ValueError(f"not the packed flags of {images} images")
    return np.unpackbits(np.frombuffer(found, np.uint8), count=images).astype(bool)


def resamplings(entries: int) -> int:
    """How many resamplings are drawn: 200, and fewer of many outputs, on which a metric takes long.

    The spread of ``n`` draws is known to ``1 / sqrt(2 n)`` of itself: 5 % of 200, 14 % of 25.
    """
    return min(MOST_DRAWS, max(FEWEST_DRAWS, MOST_DRAWS * ENTRIES // max(1, entries)))


def resampled(outputs: Outputs, metrics: Sequence[Metric], count: int) -> torch.Tensor:
    """Metrics of resamplings of the images with replacement (Efron 1979).

    Resamplings on which a metric is not defined, such as those without a class, are NaN.

    Args:
        outputs: Of the images.
        metrics: What is computed.
        count: Resamplings.

    Returns:
        float64 ``[metrics, count]``; the draws are the same for all models on as many images.
    """
    import torch

    generator = torch.Generator().manual_seed(DRAWS_SEED)
    found = torch.empty(len(metrics), count, dtype=torch.float64)
    for draw in range(count):
        rows = torch.randint(len(outputs), (len(outputs),), generator=generator)
        taken = outputs.take(rows)
        for index, metric in enumerate(metrics):
            found[index, draw] = metric.value(taken)
    return found


@dataclass(frozen=True)
class Errors:
    """Standard errors of a metric, in its unit.

    Attributes:
        value: Of the model's value.
        reference: Of the float model's.
        difference: Of their difference on the same images.
    """

    value: float
    reference: float
    difference: float


def standard_errors(
    outputs: Outputs, metrics: Sequence[Metric], float_draws: Draws | None = None
) -> dict[str, Errors]:
    """Standard errors by metric: of means from the values per image, of others by bootstrap.

    Args:
        outputs: In the form that the metrics compute with.
        metrics: Whose errors are wanted.
        float_draws: Resampled metrics of the float model by name, which are added to where they are missing:
            they are the same for every configuration.
    """
    float_draws = {} if float_draws is None else float_draws
    whole, found = outputs.of_reference(), dict[str, Errors]()
    for metric in metrics:
        own, base = metric.values_per_image(outputs), metric.values_per_image(whole)
        if own is None or base is None:
            count = resamplings(outputs.values.numel())
            if metric.name not in float_draws:
                float_draws[metric.name] = resampled(whole, [metric], count)[0]
            own, base = resampled(outputs, [metric], count)[0], float_draws[metric.name]
            spreads = [_spread(part) for part in (own, base, own - base)]
        else:
            root = math.sqrt(len(outputs))
            spreads = [float(part.std(correction=0)) / root for part in (own, base, own - base)]
        found[metric.name] = Errors(*spreads)
    return found


def _spread(draws: torch.Tensor) -> float:
    known = draws[draws.isfinite()]
    return float(known.std()) if len(known) > 1 else math.nan
