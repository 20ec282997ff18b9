"""Learning from a teacher: the loss, and its logits on the student's images, which may be kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bitfront.evaluators.models.classifiers import load_classifier
from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.evaluators.preparation.store.store import PreparationStore
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.training.images import TrainingImages
from bitfront.evaluators.training.recipe import TeacherSpec
from bitfront.spaces import BitfrontError, UserError

LOGITS = "teacher_logits"


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, hard: torch.Tensor, alpha: float, temperature: float
) -> torch.Tensor:
    """(1 - a) CE + a T^2 KL(softmax(z_t / T) || softmax(z_s / T)), the mean over images, in nats.

    Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network* (2015): T^2 keeps the gradients of
    both parts in proportion, whatever the temperature.

    Args:
        student: Logits z_s ``[n, classes]``.
        teacher: Logits z_t of the same images ``[n, classes]``.
        hard: The cross-entropy CE of the student with the labels, a scalar.
        alpha: The weight a of the teacher, from 0 to 1.
        temperature: T.
    """
    divergence = F.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher / temperature).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    return (1.0 - alpha) * hard + alpha * temperature**2 * divergence


def normalised(pixels: torch.Tensor, data_config: Mapping[str, Any]) -> torch.Tensor:
    """Float pixels from 0 to 255 ``[n, channels, height, width]`` as the input of a model."""
    # As `PreprocessedImages.normalised`, to the last bit.
    mean, std = (
        torch.tensor([255.0 * value for value in data_config[name]], device=pixels.device).view(-1, 1, 1)
        for name in ("mean", "std")
    )
    return (pixels - mean) / std


@dataclass(frozen=True, eq=False)
class Teacher:
    """A classifier whose logits a student learns.

    Attributes:
        module: On the student's device, in evaluation mode and without gradients.
        data_config: timm's resolved preprocessing of its images: the normalisation is its own.
        resized: Whether its images are of another size than the student's, which are resized to it.
        note: Which it is and how it sees images, a sentence.
    """

    module: nn.Module
    data_config: Mapping[str, Any]
    resized: bool
    note: str

    @torch.no_grad()
    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, classes]`` of the student's float pixels from 0 to 255 ``[n, channels, h, w]``."""
        channels, *sides = self.data_config["input_size"]
        if pixels.shape[1] < channels:
            pixels = pixels.expand(-1, channels, -1, -1)
        if self.resized:
            pixels = F.interpolate(pixels, size=tuple(sides), mode="bicubic", antialias=True).clamp(
                0.0, 255.0
            )
        found: torch.Tensor = self.module(normalised(pixels, self.data_config))
        return found


def load_teacher(
    spec: TeacherSpec, classes: int, data_config: Mapping[str, Any], device: torch.device
) -> Teacher:
    """Loads any timm classifier, or a built-in model, as the teacher of a student.

    Args:
        spec: Which.
        classes: The student's.
        data_config: timm's resolved preprocessing of the student.
        device: Of the student.

    Raises:
        UserError: It is unknown, its weights cannot be used, its classes are not the student's, or it takes
            coloured images where the student's are grey.
        BitfrontError: The hub's weights cannot be had.
    """
    spec.check()
    module, own, weights = _loaded(spec)
    if int(module.num_classes) != classes:
        raise UserError(
            f"the teacher {spec.model} has {int(module.num_classes)} classes and the data {classes}: "
            f"give one that was trained on the same classes, such as by `bitfront train --model {spec.model}`"
        )
    theirs, ours = tuple(own["input_size"]), tuple(data_config["input_size"])
    if theirs[0] < ours[0]:
        raise UserError(
            f"the teacher {spec.model} takes grey images and the student coloured ones: give another"
        )
    seen = f"images of {theirs[1]}x{theirs[2]}"
    if theirs[1:] != ours[1:]:
        seen += f", resized from the student's {ours[1]}x{ours[2]}"
    note = f"teacher: {spec.model} ({weights}), {seen}, normalised as it was trained"
    module = module.to(device).eval().requires_grad_(False)
    return Teacher(module, own, theirs[1:] != ours[1:], note)


def _loaded(spec: TeacherSpec) -> tuple[Any, dict[str, Any], str]:
    """The module, its resolved preprocessing, and where the weights are from."""
    try:
        found = load_classifier(spec.model, checkpoint=spec.checkpoint, pretrained=spec.pretrained)
    except BitfrontError as error:
        if isinstance(error, UserError):
            raise
        raise BitfrontError(f"the teacher cannot be had ({error}): give --teacher-checkpoint FILE") from error
    return found.module, found.data_config, found.weights


def cached_logits(
    teacher: Teacher, images: TrainingImages, batch: int, share_done: ShareDone = unreported
) -> tuple[torch.Tensor, bool]:
    """The teacher's logits on images that are the same in every epoch, from the cache where they are there.

    They are kept by what the images are and by the teacher's weights, so that other seeds and other students
    on the same images find them.

    Args:
        teacher: Whose.
        images: Of all epochs.
        batch: Images that are classified at a time.
        share_done: Is told the share of the images that is done.

    Returns:
        Logits by place ``[images, classes]``, and whether they were in the cache.
    """
    store, key = PreparationStore.default(), _key(teacher, images)
    found = store.load(key) if store.folder is not None else None
    if found is not None and found[0].get(LOGITS, torch.empty(0)).shape[:1] == (len(images),):
        return found[0][LOGITS], True
    device = next(teacher.module.parameters()).device
    logits: torch.Tensor | None = None
    for places in torch.split(torch.arange(len(images)), batch):
        found_here = (images[0, place] for place in places.tolist())
        read = [entry for entry in found_here if not isinstance(entry, str)]  # else why it is unreadable
        if read:
            pixels = torch.stack([pixels for pixels, _ in read]).float().to(device)
            part = teacher.logits(pixels).cpu()
            if logits is None:
                logits = torch.zeros(len(images), part.shape[1])
            logits[[place for _, place in read]] = part
        share_done((int(places[-1]) + 1) / len(images))
    assert logits is not None
    store.save(key, {LOGITS: logits}, {"images": len(images)})
    return logits, False


def _key(teacher: Teacher, images: TrainingImages) -> str:
    """By the pixels of all images and the teacher's weights and preprocessing."""
    digest = hashlib.sha256()
    for place in range(len(images)):
        found = images[0, place]
        digest.update(b"-" if isinstance(found, str) else found[0].numpy().tobytes())
    config = {name: teacher.data_config[name] for name in ("input_size", "mean", "std")}
    return fingerprint(
        {
            "kind": LOGITS,
            "pixels": digest.hexdigest(),
            "teacher": {name: value.cpu() for name, value in teacher.module.state_dict().items()},
            "type": type(teacher.module).__name__,
            "preprocessing": config,
        }
    )
