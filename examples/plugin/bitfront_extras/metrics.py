"""Cohen's kappa as a metric of classification, and grading as a task that is judged by its weighted form."""

from __future__ import annotations

import dataclasses

from bitfront.evaluators.tasks.classification.task import CLASSIFICATION
from bitfront.evaluators.tasks.metric import Metric, Outputs


def cohen_kappa(outputs: Outputs, weights: str | None = None) -> float:
    """Agreement with the labels beyond chance (Cohen 1960), from -1 to 1."""
    from sklearn.metrics import cohen_kappa_score

    return float(
        cohen_kappa_score(outputs.labels.numpy(), outputs.values.argmax(-1).numpy(), weights=weights)
    )


def quadratic_kappa(outputs: Outputs) -> float:
    """The same where grades have an order: a miss counts with the square of its distance (Cohen 1968)."""
    return cohen_kappa(outputs, "quadratic")


# 1 is agreement, 0 chance; a difference of less than a hundredth counts as none.
KAPPA = Metric("kappa", "Cohen's kappa", "maximise", "", 1.0, lambda _: 0.0, cohen_kappa, least=0.01)
_QUADRATIC = dataclasses.replace(
    KAPPA, name="quadratic_kappa", title="quadratic kappa", compute=quadratic_kappa
)

GRADING = dataclasses.replace(
    CLASSIFICATION,
    name="grading",
    title="one of several grades in an order",
    metrics=(_QUADRATIC, *CLASSIFICATION.metrics),
    always=("quadratic_kappa", *CLASSIFICATION.always),
    primary="quadratic_kappa",
)
