"""Macro-F1 and ROC-AUC as means over images, so that their standard errors need no resampling.

A figure that is no mean is one to first order: each image is given the figure plus its influence on it. The
mean of these values is the figure, and their spread its standard error (the infinitesimal jackknife, Efron
1982; of areas under curves it is that of DeLong, DeLong and Clarke-Pearson 1988). Of two models on the same
images, the differences of the values have the paired error.
"""

from __future__ import annotations

import torch

from bitfront.evaluators.tasks.classification.figures import ClassOutputs


def macro_f1_per_image(outputs: ClassOutputs) -> torch.Tensor:
    """Values of macro-F1 by image, float64 ``[images]``, in percent; see the module.

    F1 of a class is the ratio of the means of a = 2 [right] and b = [label] + [choice], so that an image adds
    (a - F1 b) / mean(b).
    """
    count = outputs.values.shape[-1]
    labels, choices = (
        torch.nn.functional.one_hot(chosen, count).double() for chosen in (outputs.labels, outputs.classes)
    )
    twice_right, either = 2.0 * labels * choices, labels + choices
    known = either.sum(0) > 0
    twice_right, either = twice_right[:, known], either[:, known]
    f1 = twice_right.mean(0) / either.mean(0)
    influence = (twice_right - f1 * either) / either.mean(0)
    return 100.0 * (f1 + influence).mean(1)


def roc_auc_per_image(outputs: ClassOutputs) -> torch.Tensor:
    """Values of the mean ROC-AUC of each class against the rest by image, float64 ``[images]``, in percent.

    See the module. An image of a class adds by how many of the rest it is above, and one of the rest by how
    many of the class are above it, equals counting half.
    """
    images, found = len(outputs), []
    for index in range(outputs.values.shape[-1]):
        ours = outputs.labels == index
        own, others = int(ours.sum()), images - int(ours.sum())
        if not own or not others:
            continue  # it has no curve
        scores = outputs.log_p[:, index]
        above = _share_below(scores[ours], scores[~ours])
        area = above.mean()
        values = torch.empty_like(scores)
        values[ours] = (above - area) * (images / own)
        values[~ours] = (1.0 - _share_below(scores[~ours], scores[ours]) - area) * (images / others)
        found.append(area + values)
    return 100.0 * torch.stack(found, 1).mean(1)


def _share_below(scores: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Share of other scores that lie below each score, equals counting half."""
    ordered = others.sort().values
    places = (torch.searchsorted(ordered, scores, right=side) for side in (False, True))
    return sum(place.double() for place in places) / (2.0 * len(others))  # type: ignore[return-value]
