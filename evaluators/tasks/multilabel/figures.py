"""Figures of multi-label data, from logits ``[images, labels]`` and labels of 0 and 1 of that shape."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F

from bitfront.evaluators.tasks.classification.figures import fitted_temperature, ranks
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.torchvision_shim import ensure_torchvision


@dataclass(frozen=True, eq=False)
class LabelOutputs(Outputs):
    """Logits in float64, and what several figures need of them."""

    @functools.cached_property
    def decided(self) -> torch.Tensor:
        """Whether each label is given: its probability is above a half, bool ``[images, labels]``."""
        return self.values > 0.0

    @functools.cached_property
    def seen(self) -> torch.Tensor:
        """Labels that some images have and some have not, bool ``[labels]``."""
        count = self.labels.sum(0)
        return (count > 0) & (count < len(self.labels))


class _MultiLabel:
    def outputs(self, outputs: Outputs) -> Outputs:
        """See :class:`Judge`."""
        given = {field.name: getattr(outputs, field.name) for field in dataclasses.fields(Outputs)}
        given |= {name: given[name].double() for name in ("values", "reference")}
        return LabelOutputs(**given)

    def decisions(self, values: torch.Tensor) -> torch.Tensor:
        """Whether each label is given, int64 ``[images, labels]``."""
        return (values > 0.0).long()

    def right(self, values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Whether all labels of an image are decided as they are."""
        return ((values > 0.0) == labels.bool()).all(-1)

    def temperature(self, outputs: Outputs) -> float:
        """See :class:`Judge`."""
        labels = outputs.labels.double()
        return fitted_temperature(
            lambda scale: float(F.binary_cross_entropy_with_logits(outputs.values / scale, labels))
        )

    def expected_right(
        self, values: torch.Tensor, reference: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        """The float model's probability of all decisions together, as if labels were independent."""
        signs = torch.where(values > 0.0, 1.0, -1.0)
        return F.logsigmoid(signs * reference / temperature).sum(-1).exp()


JUDGE = _MultiLabel()


def exact_match_per_image(outputs: LabelOutputs) -> torch.Tensor:
    """100 for images all of whose labels are decided right, 0 for others."""
    return 100.0 * JUDGE.right(outputs.values, outputs.labels).double()


def exact_match(outputs: LabelOutputs) -> float:
    """Their share, in percent."""
    return float(exact_match_per_image(outputs).mean())


def loss_per_image(outputs: LabelOutputs) -> torch.Tensor:
    """Mean binary cross-entropy of an image's labels, in nats."""
    return F.binary_cross_entropy_with_logits(outputs.values, outputs.labels.double(), reduction="none").mean(
        -1
    )


def loss(outputs: LabelOutputs) -> float:
    """Its mean over images."""
    return float(loss_per_image(outputs).mean())


def kl_per_image(outputs: LabelOutputs) -> torch.Tensor:
    """KL divergence from the float model's probabilities to the model's, the sum over labels, in nats."""
    probability = outputs.reference.sigmoid()
    given = F.logsigmoid(outputs.reference) - F.logsigmoid(outputs.values)
    refused = F.logsigmoid(-outputs.reference) - F.logsigmoid(-outputs.values)
    return (probability * given + (1.0 - probability) * refused).sum(-1)


def kl(outputs: LabelOutputs) -> float:
    """Its mean over images; rounding may take it below 0, which it is not."""
    return max(0.0, float(kl_per_image(outputs).mean()))


def agreement_per_image(outputs: LabelOutputs) -> torch.Tensor:
    """Share of an image's labels that the float model decides alike, in percent."""
    return 100.0 * (outputs.decided == (outputs.reference > 0.0)).double().mean(-1)


def agreement(outputs: LabelOutputs) -> float:
    """Its mean over images."""
    return float(agreement_per_image(outputs).mean())


def _of_labels(name: str, scores: torch.Tensor, outputs: LabelOutputs) -> torch.Tensor:
    """A figure of torchmetrics for each label by scores from 0 to 1, ``[labels]``."""
    ensure_torchvision()
    from torchmetrics.functional import classification

    figure: Any = getattr(classification, f"multilabel_{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of labels that no image has: means leave them out
        found = figure(scores, outputs.labels, outputs.labels.shape[-1], average=None)
    return cast(torch.Tensor, found).double()


def mean_average_precision(outputs: LabelOutputs) -> float:
    """Mean over labels of the average precision, in percent; labels that no image has are left out."""
    return 100.0 * float(
        _of_labels("average_precision", ranks(outputs.values), outputs)[outputs.labels.sum(0) > 0].mean()
    )


def macro_f1(outputs: LabelOutputs) -> float:
    """Mean over labels of F1 at a probability of a half, in percent.

    Labels that no image has and none is given are left out.
    """
    known = outputs.labels.bool().any(0) | outputs.decided.any(0)
    return 100.0 * float(_of_labels("f1_score", outputs.decided.double(), outputs)[known].mean())


def roc_auc(outputs: LabelOutputs) -> float:
    """Mean over labels of the area under the ROC curve, in percent; labels without a curve are left out."""
    return 100.0 * float(_of_labels("auroc", ranks(outputs.values), outputs)[outputs.seen].mean())
