"""Figures of classification, from logits ``[images, classes]`` and class indices ``[images]``."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F

from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

# Bins of the calibration error, as in Guo et al. (2017).
BINS = 15
# The temperature is sought between a hundredth and a hundred.
_TEMPERATURES = (-4.6, 4.6)


@dataclass(frozen=True, eq=False)
class ClassOutputs(Outputs):
    """Logits in float64, and what several figures need of them."""

    @functools.cached_property
    def log_p(self) -> torch.Tensor:
        """Log-probabilities of the model, ``[images, classes]``."""
        return self.values.log_softmax(-1)

    @functools.cached_property
    def reference_log_p(self) -> torch.Tensor:
        """Those of the float model."""
        return self.reference.log_softmax(-1)

    @functools.cached_property
    def classes(self) -> torch.Tensor:
        """The class that the model chooses, ``[images]``."""
        return self.values.argmax(-1)

    def class_index(self, name: str) -> int:
        """The index of a class by its name, or by its number."""
        names, count = self.class_names or (), self.values.shape[-1]
        if name in names:
            return names.index(name)
        if name.isdecimal() and int(name) < count:
            return int(name)
        shown = ", ".join(names[:20]) or f"0 to {count - 1}"
        raise UserError(f"there is no class {name!r}: the classes are {shown}")


class _Classification:
    def outputs(self, outputs: Outputs) -> Outputs:
        """See :class:`Judge`."""
        given = {field.name: getattr(outputs, field.name) for field in dataclasses.fields(Outputs)}
        given |= {name: given[name].double() for name in ("values", "reference")}
        return ClassOutputs(**given)

    def decisions(self, values: torch.Tensor) -> torch.Tensor:
        """The class of the highest logit, int64 ``[images]``."""
        return values.argmax(-1)

    def right(self, values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Whether that is the label."""
        return values.argmax(-1) == labels

    def temperature(self, outputs: Outputs) -> float:
        """See :class:`Judge`."""
        return temperature(cast(ClassOutputs, outputs))

    def expected_right(
        self, values: torch.Tensor, reference: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        """The float model's probability of the class that is chosen."""
        probabilities = (reference / temperature).softmax(-1)
        return probabilities.gather(-1, values.argmax(-1, keepdim=True))[:, 0]


JUDGE = _Classification()


def _percent(hits: torch.Tensor) -> float:
    return 100.0 * float(hits.double().mean())


def top1(outputs: ClassOutputs) -> float:
    """Share of images whose highest logit is the label, in percent."""
    return _percent(outputs.classes == outputs.labels)


def top1_per_image(outputs: ClassOutputs) -> torch.Tensor:
    """100 for images whose highest logit is the label, 0 for others."""
    return 100.0 * (outputs.classes == outputs.labels).double()


def _in_top5(outputs: ClassOutputs) -> torch.Tensor:
    best = outputs.values.topk(min(5, outputs.values.shape[-1]), dim=-1).indices
    return (best == outputs.labels[:, None]).any(-1)


def top5(outputs: ClassOutputs) -> float:
    """Share of images whose label is among the five highest logits, in percent; of fewer classes, all."""
    return _percent(_in_top5(outputs))


def top5_per_image(outputs: ClassOutputs) -> torch.Tensor:
    """100 for images whose label is among the five highest logits, 0 for others."""
    return 100.0 * _in_top5(outputs).double()


def loss(outputs: ClassOutputs) -> float:
    """Mean cross-entropy, in nats."""
    return float(F.nll_loss(outputs.log_p, outputs.labels))


def loss_per_image(outputs: ClassOutputs) -> torch.Tensor:
    """Cross-entropy of each image, in nats."""
    return F.nll_loss(outputs.log_p, outputs.labels, reduction="none")


def kl_per_image(outputs: ClassOutputs) -> torch.Tensor:
    """KL divergence from the float model's probabilities to the model's, in nats."""
    return (outputs.reference_log_p.exp() * (outputs.reference_log_p - outputs.log_p)).sum(-1)


def kl(outputs: ClassOutputs) -> float:
    """Its mean; rounding may take it below 0, which it is not."""
    return max(0.0, float(kl_per_image(outputs).mean()))


def _agrees(outputs: ClassOutputs) -> torch.Tensor:
    return outputs.classes == outputs.reference.argmax(-1)


def agreement(outputs: ClassOutputs) -> float:
    """Share of images given the same class as by the float model, in percent."""
    return _percent(_agrees(outputs))


def agreement_per_image(outputs: ClassOutputs) -> torch.Tensor:
    """100 for images given the same class as by the float model, 0 for others."""
    return 100.0 * _agrees(outputs).double()


def _torchmetrics() -> Any:
    """Torchmetrics' functions of classification; it imports torchvision."""
    ensure_torchvision()
    from torchmetrics.functional import classification

    return classification


def _of_classes(name: str, outputs: ClassOutputs) -> torch.Tensor:
    """A figure of torchmetrics for each class against the rest, ``[classes]``."""
    count = outputs.values.shape[-1]
    figure = getattr(_torchmetrics(), f"multiclass_{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that no image has: means leave them out
        found = figure(outputs.values, outputs.labels, count, average=None)
    return cast(torch.Tensor, found).double()


def _seen(outputs: ClassOutputs) -> torch.Tensor:
    """Which classes have images, bool ``[classes]``."""
    return torch.bincount(outputs.labels, minlength=outputs.values.shape[-1]) > 0


def macro_f1(outputs: ClassOutputs) -> float:
    """Mean over classes of the harmonic mean of precision and recall, in percent.

    Classes that no image has and none is given are left out, as scikit-learn does.
    """
    given = torch.bincount(outputs.classes, minlength=outputs.values.shape[-1]) > 0
    return 100.0 * float(_of_classes("f1_score", outputs)[_seen(outputs) | given].mean())


def balanced_accuracy(outputs: ClassOutputs) -> float:
    """Mean recall of the classes that have images (Brodersen et al. 2010), in percent."""
    return 100.0 * float(_of_classes("recall", outputs)[_seen(outputs)].mean())


def roc_auc(outputs: ClassOutputs) -> float:
    """Mean area under the ROC curve of each class against the rest, in percent; a guess has 50.

    Classes that no image has, or every image, have no curve and are left out; NaN where none is left.
    """
    seen = _seen(outputs)
    seen &= torch.bincount(outputs.labels, minlength=len(seen)) < len(outputs)
    ordered = dataclasses.replace(outputs, values=ranks(outputs.log_p))
    return 100.0 * float(_of_classes("auroc", ordered)[seen].mean())


def ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks in each column of ``[images, classes]``, from 0 to 1, equals alike.

    Areas under curves depend on the order alone, and probabilities that are all but 1 are rounded to it.
    """
    ordered, order = values.sort(0)
    steps = torch.zeros_like(ordered)
    steps[1:] = (ordered[1:] != ordered[:-1]).double().cumsum(0)
    return torch.zeros_like(ordered).scatter_(0, order, steps / max(1, len(values) - 1))


def sensitivity(outputs: ClassOutputs, name: str) -> float:
    """Share of the images of a class that are given it, in percent; NaN where there are none."""
    index = outputs.class_index(name)
    found = _of_classes("recall", outputs)[index]
    return 100.0 * float(found) if _seen(outputs)[index] else float("nan")


def specificity(outputs: ClassOutputs, name: str) -> float:
    """Share of the images of other classes that are not given a class, in percent; NaN without any."""
    index = outputs.class_index(name)
    if bool((outputs.labels == index).all()):
        return float("nan")
    return 100.0 * float(_of_classes("specificity", outputs)[index])


def calibration_error(outputs: ClassOutputs) -> float:
    """Expected calibration error over 15 bins of confidence (Guo et al. 2017, eq. 3), in percent."""
    probabilities = outputs.log_p.exp()
    found = _torchmetrics().multiclass_calibration_error(
        probabilities, outputs.labels, probabilities.shape[-1], n_bins=BINS, norm="l1"
    )
    return 100.0 * float(found)


def temperature(outputs: ClassOutputs) -> float:
    """The temperature that minimises the cross-entropy of outputs (Guo et al. 2017, section 4.2)."""
    return fitted_temperature(lambda scale: float(F.cross_entropy(outputs.values / scale, outputs.labels)))


def fitted_temperature(cross_entropy: Callable[[float], float]) -> float:
    """The temperature, between a hundredth and a hundred, at which a cross-entropy is least."""
    from scipy.optimize import minimize_scalar

    def of_logarithm(log_temperature: float) -> float:
        return cross_entropy(float(torch.tensor(log_temperature).exp()))

    found = minimize_scalar(of_logarithm, bounds=_TEMPERATURES, method="bounded")
    return float(torch.tensor(float(found.x)).exp())


def tempered_calibration_error(outputs: ClassOutputs) -> float:
    """The calibration error of logits divided by a temperature that was fitted on other images, in percent.

    Raises:
        UserError: There are no other images.
    """
    if outputs.held_out is None:
        raise UserError("the calibration error with a temperature needs calibration images to fit it on")
    return calibration_error(
        dataclasses.replace(outputs, values=outputs.values / _fitted_temperature(outputs.held_out))
    )


@functools.lru_cache(maxsize=2)
def _fitted_temperature(held_out: Callable[[], Outputs]) -> float:
    """Fitted once for all resamplings of a model's outputs, and for those of the float model."""
    return temperature(cast(ClassOutputs, JUDGE.outputs(held_out())))
