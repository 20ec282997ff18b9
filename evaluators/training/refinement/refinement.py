"""Refinement of one bit configuration: learned, judged on images held out, and kept only where it helps."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.context.throughput import torch_threads
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.calibrated_model_file import calibrated_digest
from bitfront.evaluators.preparation.refinement_file import save_refinement
from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.quantized.prepared import PreparedModel, check_config
from bitfront.evaluators.training.refinement.course import Course
from bitfront.evaluators.training.refinement.learning import divergence
from bitfront.evaluators.training.refinement.network import LearnedModel
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.evaluators.training.refinement.state import clear_state
from bitfront.spaces import BitConfig, UserError
from bitfront.spaces.schemes import DEPLOY

# Images that judge are classified so many at a time: how many moves float logits by a rounding.
_BATCH = 16
# Standard errors by which the divergence has to fall.
CERTAIN = 2.0


@dataclass(frozen=True)
class Closeness:
    """How near a quantized model is to the float one on the images that judge.

    Attributes:
        kl: Mean divergence from the float prediction, nats; lower is better.
        kl_error: Its standard error.
        agreement: Share of the images of which both say the same, 0 to 1.
    """

    kl: float
    kl_error: float
    agreement: float


@dataclass(frozen=True, eq=False)
class Refined:
    """What a refinement found.

    Attributes:
        calibrated: The refined model, for its configuration alone; the very one that was given where it did
            not help.
        learned: The refined model, whether it helped or not: other images may show what these do not.
        helped: Whether the divergence on the images held out fell by more than two standard errors.
        before: How near the model was to the float one.
        after: How near it is, or would be.
        losses: By pass of all encoders together, the mean divergence on the varied images, nats.
        images: How many are learned from.
        held_out: How many judge.
        seconds: Of this process.
        config: The configuration.
        started_from: Digest of the calibrated model that it began with.
    """

    calibrated: CalibratedModel
    learned: CalibratedModel
    helped: bool
    before: Closeness
    after: Closeness
    losses: tuple[float, ...]
    images: int
    held_out: int
    seconds: float
    config: BitConfig
    started_from: str

    def figures(self) -> dict[str, Any]:
        """What was measured, as JSON has it."""
        return {
            "helped": self.helped,
            "before": dataclasses.asdict(self.before),
            "after": dataclasses.asdict(self.after),
            "losses": list(self.losses),
            "images": self.images,
            "held_out": self.held_out,
            "seconds": self.seconds,
            "config": self.config.digest,
            "started_from": self.started_from,
        }

    def save(self, path: Path, float_blueprint: Blueprint, spec: RefinementSpec) -> None:
        """Writes what was learned, whether it helped or not.

        Args:
            path: The file.
            float_blueprint: The float model that was calibrated.
            spec: How it learned.

        Raises:
            UserError: The place is not writable.
        """
        save_refinement(
            path,
            self.learned,
            float_blueprint,
            self.config,
            self.started_from,
            spec.to_json(),
            self.figures(),
        )

    def summary(self) -> str:
        """One line for people."""
        before, after = self.before, self.after
        moved = (
            f"KL to the float model {before.kl:.4f} to {after.kl:.4f} nats, agreement "
            f"{before.agreement:.1%} to {after.agreement:.1%}, on {self.held_out} images held out"
        )
        if self.helped:
            return f"refined {self.config.digest}: {moved}"
        return f"refining {self.config.digest} did not help ({moved}): nothing is changed"


def refine(
    calibrated: CalibratedModel,
    float_blueprint: Blueprint,
    config: BitConfig,
    images: PreprocessedImages,
    spec: RefinementSpec | None = None,
    *,
    weight_ranges: str = "mse",
    folder: Path | None = None,
    progress: ShareDone = unreported,
) -> Refined:
    """Draws the quantized model of one configuration towards the float one.

    Args:
        calibrated: What it begins with.
        float_blueprint: The float model that was calibrated.
        config: The configuration; its bits stay.
        images: What is learned from and, of other images among them, judged on; labels are not looked at.
        spec: How it learns; the defaults where None.
        weight_ranges: Of layers that are rounded to nearest (see :class:`PreparedModel`).
        folder: Where the state is kept after each encoder and pass, to go on from after a kill; None keeps
            none.
        progress: Is told the share that is done, from 0 to 1.

    Raises:
        UserError: The configuration is of another scheme than ``deploy`` or does not fit the model, there
            are too few images, or the folder holds the state of another refinement.
    """
    started, spec = time.perf_counter(), spec or RefinementSpec()
    spec.check()
    if config.scheme != DEPLOY:
        raise UserError(
            f"refinement works with scheme {DEPLOY!r} alone, and the bit config is for {config.scheme!r}: "
            f"search with --scheme {DEPLOY}"
        )
    check_config(config, calibrated.blueprint, DEPLOY)
    judging, learning = _parted(images, spec)
    origin = calibrated_digest(calibrated, float_blueprint)
    work = fingerprint(
        {
            "spec": spec,
            "config": config.digest,
            "started_from": origin,
            "weight_ranges": weight_ranges,
            "pixels": images.pixels,
            "mean": images.mean,
            "std": images.std,
        }
    )
    with torch_threads(spec.threads or available_cpus()):
        prepared = _prepared(calibrated, config, weight_ranges)
        target = _logits(lambda x: forward(calibrated.blueprint, x), judging)
        before = _divergences(prepared, config, judging, target)
        model = LearnedModel(prepared, calibrated, config)

        def judged() -> tuple[torch.Tensor, float]:
            return _divergences(_prepared(model.result(), config, weight_ranges), config, judging, target)

        def nearer() -> bool:
            return float(judged()[0].mean()) < float(before[0].mean())

        losses = Course(model, calibrated.blueprint, learning, spec, folder, work, nearer, progress).run()
        found, after = model.result(), judged()
    helped = _fell(before[0], after[0])
    if folder is not None:
        clear_state(folder)
    progress(1.0)
    return Refined(
        calibrated=found if helped else calibrated,
        learned=found,
        helped=helped,
        before=_closeness(*before),
        after=_closeness(*after),
        losses=losses,
        images=len(learning),
        held_out=len(judging),
        seconds=time.perf_counter() - started,
        config=config,
        started_from=origin,
    )


def _parted(
    images: PreprocessedImages, spec: RefinementSpec
) -> tuple[PreprocessedImages, PreprocessedImages]:
    """The images that judge, and those that are learned from."""
    count = spec.held_out_of(len(images))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(spec.seed))

    def chosen(which: torch.Tensor) -> PreprocessedImages:
        places = which.sort().values
        return dataclasses.replace(
            images,
            pixels=images.pixels[places],
            labels=images.labels[places],
            indices=images.indices[places.numpy()],
        )

    return chosen(order[:count]), chosen(order[count:])


def _prepared(calibrated: CalibratedModel, config: BitConfig, weight_ranges: str) -> PreparedModel:
    return PreparedModel(
        calibrated.blueprint,
        calibrated.calibration,
        DEPLOY,
        config.formats(),
        weight_ranges,
        calibrated.layers,
        calibrated.log_steps,
        keep_codes=True,
    )


@torch.no_grad()
def _logits(classify: Callable[[torch.Tensor], torch.Tensor], images: PreprocessedImages) -> torch.Tensor:
    return torch.cat([classify(batch).cpu() for batch, _ in images.batches(_BATCH)])


def _divergences(
    prepared: PreparedModel, config: BitConfig, images: PreprocessedImages, target: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """Divergence from the float prediction by image, and the share of equal decisions."""
    model, device = prepared.assemble(config), prepared.kernels.device
    logits, independent = _logits(lambda x: model(x.to(device)), images), prepared.blueprint.independent
    if independent:
        agreement = ((logits > 0) == (target > 0)).all(-1)
    else:
        agreement = logits.argmax(-1) == target.argmax(-1)
    return divergence(logits.double(), target.double(), independent), float(agreement.double().mean())


def _closeness(divergences: torch.Tensor, agreement: float) -> Closeness:
    return Closeness(float(divergences.mean()), _error(divergences), agreement)


def _error(values: torch.Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values))


def _fell(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether divergences fell, by more than their paired difference scatters; NaN did not."""
    saved = before - after
    return float(saved.mean()) > CERTAIN * _error(saved)
