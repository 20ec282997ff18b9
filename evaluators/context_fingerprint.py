"""What an evaluation context is made of, in digests that another process can be compared with."""

from __future__ import annotations

from dataclasses import dataclass

from bitfront.evaluators.cache.fingerprint import fingerprint
from bitfront.evaluators.context import EvaluationContext


@dataclass(frozen=True)
class ContextFingerprint:
    """Digests of a context.

    Attributes:
        weights: Of the float model.
        images: Of the pixels and labels of the search split.
        groundwork: Of what calibration decided; sums in another order may move it by a rounding.
    """

    weights: str
    images: str
    groundwork: str

    def difference(self, other: ContextFingerprint) -> str | None:
        """What makes the results of two contexts incomparable, such as ``other images``; None if nothing."""
        if self.weights != other.weights:
            return "other weights of the model"
        return "other images of the search split" if self.images != other.images else None


def fingerprint_of(context: EvaluationContext) -> ContextFingerprint:
    """The fingerprint of a context; loads the images of its search split."""
    images = context.images("search")
    return ContextFingerprint(
        weights=fingerprint(context.model.module.state_dict()),
        images=fingerprint({"pixels": images.pixels, "labels": images.labels}),
        groundwork=context.groundwork,
    )
