"""Training of the digits models from nothing, on scans and canvases that no split has."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from bitfront.evaluators.data.cluttered import DIGITS_READ, Canvases, ClutteredDigitsSource, training_scans
from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.data.registry import CLUTTERED
from bitfront.evaluators.data.source import HELD_OUT, TEST, TRAIN
from bitfront.evaluators.files import check_writable
from bitfront.evaluators.models.checkpoint import round_to_half, write_weights
from bitfront.evaluators.models.digits_models import DEFAULT, DIGITS_MODELS, DigitsModel, build_digits
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.evaluators.training.folder import STATE, read_state, write_state
from bitfront.evaluators.training.loop import Position, epochs_of
from bitfront.spaces import UserError

POSITION_TEMPERATURE = 100.0  # wavelengths of up to the grid's size; the usual 10,000 suits far larger grids
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
LARGEST_GRADIENT = 1.0
DIGITS = 10


@dataclass(frozen=True)
class TrainingProgress:
    """The state after an epoch.

    Attributes:
        epoch: Epochs done, from 1.
        epochs: Epochs in all.
        loss: Mean smoothed cross-entropy of the epoch, in nats; lower is better.
        seconds: Time since the training began.
    """

    epoch: int
    epochs: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        model: Name of the digits model.
        path: The safetensors file.
        epochs: Epochs done.
        train_images: Scans trained on.
        held_out_images: Scans never trained on.
        held_out_top1: Top-1 accuracy on those with the weights as stored (float16), in percent.
        seconds: Duration.
        size_bytes: Size of the file.
    """

    model: str
    path: Path
    epochs: int
    train_images: int
    held_out_images: int
    held_out_top1: float
    seconds: float
    size_bytes: int


def train_digits(
    output: Path,
    *,
    model: str = DEFAULT,
    seed: int = 0,
    epochs: int | None = None,
    threads: int | None = None,
    train_images: int | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
    resumed: bool = False,
) -> TrainingResult:
    """Trains a digits model and writes its weights, the same for the same arguments on one machine.

    The number of epochs is fixed beforehand: held-out scans are looked at once, after the last epoch.

    Args:
        output: The safetensors file to write; it appears only when it is complete.
        model: One of ``DIGITS_MODELS``; the defaults reproduce the weights that models come with.
        seed: Of the initial weights, the order of the scans and their distortions.
        epochs: Passes over the train partition (by default as many as the model is made for).
        threads: Torch threads, one by default; or threads that compute the parts of a batch, where the model
            has some, by default one for each: then the weights are the same for any number.
        train_images: Use only so many scans of the train partition (all by default).
        progress: Called after every epoch.
        resumed: Whether to go on from the state beside the file, of the same training.

    Raises:
        UserError: The model is unknown, ``epochs`` is below 1, the file cannot be written, or there is no
            state of this training.
    """
    if model not in DIGITS_MODELS:
        raise UserError(f"cannot train {model!r}: expected one of {', '.join(DIGITS_MODELS)}")
    epochs = DIGITS_MODELS[model].epochs if epochs is None else epochs
    if epochs < 1:
        raise UserError(f"cannot train for {epochs} epochs: expected at least 1")
    check_writable(output)
    started = time.perf_counter()
    asked, beside = DIGITS_MODELS[model], state_beside(output)
    training = json.dumps({"model": model, "seed": seed, "epochs": epochs, "train_images": train_images})
    threads = threads or asked.parts
    with _seeded(seed, threads if asked.parts == 1 else 1):
        module = _reading_model(model)
        kind = _Canvases if asked.data == CLUTTERED else _Scans
        train = kind(module, seed, train_images)
        with ThreadPoolExecutor(min(threads, asked.parts)) as pool:
            lessons, position = _Lessons(module, train, asked, epochs, seed, pool), Position()
            if resumed:
                state = _state_of(beside, training)
                position.epoch = state["epoch"]
                lessons.load_state(state)
            for loss in epochs_of(lessons, position):
                write_state(beside, training, {**lessons.state(), "epoch": position.epoch})
                if progress:
                    seconds = time.perf_counter() - started
                    progress(TrainingProgress(position.epoch, epochs, loss, seconds))
        module = _of_numbers(module, asked)
        weights = round_to_half(module.state_dict())
        module.load_state_dict({name: value.float() for name, value in weights.items()})
        held_out = train.held_out()
        top1 = _top1(module, held_out)
    facts = {"architecture": model, "seed": seed, "epochs": epochs, "held_out_top1": round(top1, 3)}
    write_weights(weights, output, facts)
    beside.unlink(missing_ok=True)
    return TrainingResult(
        model=model,
        path=output,
        epochs=epochs,
        train_images=len(train.labels),
        held_out_images=len(held_out),
        held_out_top1=top1,
        seconds=time.perf_counter() - started,
        size_bytes=output.stat().st_size,
    )


def resume_digits(
    output: Path, threads: int | None = None, progress: Callable[[TrainingProgress], None] | None = None
) -> TrainingResult:
    """Goes on with a training that was killed; it ends in the weights that it would have had.

    Args:
        output: The file that it was to write; its state is beside it.
        threads: As of :func:`train_digits`.
        progress: As of :func:`train_digits`.

    Raises:
        UserError: There is no state, or it is damaged.
    """
    asked = json.loads(_state_of(state_beside(output), None)["training"])
    return train_digits(output, **asked, threads=threads, progress=progress, resumed=True)


def state_beside(output: Path) -> Path:
    """Where the state of a training is until its weights are written."""
    return output.with_name(f"{output.name}.{STATE}")


def _state_of(path: Path, training: str | None) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"there is nothing to go on with: {path} is missing; train again")
    state = read_state(path)
    if training not in (None, state["training"]):
        raise UserError(f"{path} is of another training: {state['training']}; remove it to train again")
    return state


@contextmanager
def _seeded(seed: int, threads: int) -> Iterator[None]:
    """Torch's global generator (the initial weights) and threads, as given and then as they were."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def initial_model(name: str, classes: int, **further: Any) -> nn.Module:
    """Xavier's weights and sine-cosine positions: from these it takes half the epochs of timm's default.

    Args:
        name: Of the model.
        classes: Of its classifier.
        further: Arguments of timm's constructor in place of the model's own, such as ``img_size``.
    """
    module: Any = build_digits(name, classes=classes, **further)
    from timm.layers import build_sincos2d_pos_embed

    module.init_weights("jax")
    if not DIGITS_MODELS[name].windowed:  # windows have a bias of relative positions instead
        grid = module.patch_embed.grid_size
        positions = build_sincos2d_pos_embed(grid, dim=module.embed_dim, temperature=POSITION_TEMPERATURE)
        with torch.no_grad():
            module.pos_embed[0, -len(positions) :] = DIGITS_MODELS[name].positions * positions
    return cast(nn.Module, module)


def _reading_model(name: str) -> nn.Module:
    """One whose classifier has ten outputs for each digit of an image (:func:`_of_numbers`)."""
    return initial_model(name, DIGITS * (DIGITS_READ if DIGITS_MODELS[name].data == CLUTTERED else 1))


def _of_numbers(module: nn.Module, model: DigitsModel) -> nn.Module:
    """The same model with a class for each number: its logit is the sum of those of its digits.

    A number is then as likely as the product of its digits' probabilities, and each digit of an image is
    learned from by itself: a thousand classes without a digit in common have too few images each.
    """
    numbers = build_digits(model.name)
    state = module.state_dict()
    head = str(module.pretrained_cfg["classifier"])  # type: ignore[index]
    for name in (f"{head}.weight", f"{head}.bias"):
        total, *others = state[name].split(DIGITS)
        for digit in others:
            total = (total.unsqueeze(1) + digit.unsqueeze(0)).flatten(0, 1)
        state[name] = total
    numbers.load_state_dict(state)
    return numbers


@torch.inference_mode()
def _top1(module: nn.Module, images: PreprocessedImages) -> float:
    module.eval()
    hits = sum(int((module(batch).argmax(-1) == labels).sum()) for batch, labels in images.batches(256))
    return 100.0 * hits / len(images)


@dataclass(frozen=True)
class Distortion:
    """Largest distortions; every image draws its own, uniformly up to these.

    Attributes:
        rotation: In radians, either way.
        scale: Relative growth or shrinkage of each axis.
        shear: Horizontal shift per unit of height.
        shift: As a share of the image's side.
        contrast: Relative change of the pixel values.
    """

    rotation: float = 0.22
    scale: float = 0.15
    shear: float = 0.2
    shift: float = 0.1
    contrast: float = 0.2

    def apply(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Distorted copies of float pixels ``[n, channels, height, width]`` whose background is 0."""
        count = len(pixels)

        def draw(largest: float) -> torch.Tensor:
            return (2.0 * torch.rand(count, generator=generator) - 1.0) * largest

        angle, shear = draw(self.rotation), draw(self.shear)
        wide, high = 1.0 + draw(self.scale), 1.0 + draw(self.scale)
        cos, sin = angle.cos(), angle.sin()
        # rows of [rotation][shear][scale], in coordinates from -1 to 1, so that a shift counts double
        rows = (cos * wide, (shear * cos - sin) * high, 2.0 * draw(self.shift))
        columns = (sin * wide, (shear * sin + cos) * high, 2.0 * draw(self.shift))
        matrices = torch.stack([torch.stack(rows, dim=-1), torch.stack(columns, dim=-1)], dim=1)
        grid = affine_grid(matrices, list(pixels.shape), align_corners=False)
        moved = grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return (moved * (1.0 + draw(self.contrast)).view(-1, 1, 1, 1)).clamp(0.0, 255.0)


class _Batch(NamedTuple):
    """Images to learn from.

    Attributes:
        images: Normalised ``[n, 1, side, side]``.
        digits: Of each image, from the left ``[n, digits]``.
        within: The digit that each pixel is in, counted from the left, or -1 ``[n, side, side]``; None where
            an image is one digit.
    """

    images: torch.Tensor
    digits: torch.Tensor
    within: torch.Tensor | None = None

    def parts(self, count: int) -> list[_Batch]:
        """Consecutive parts, about as large as each other."""
        split = [values.chunk(count) for values in self if values is not None]
        return [_Batch(*values) for values in zip(*split, strict=True)]


class _TrainingImages(Protocol):
    """What a model is trained on."""

    labels: torch.Tensor

    def batch(self, scans: torch.Tensor, generator: torch.Generator) -> _Batch:
        """Images with some scans."""

    def draws(self) -> str:
        """The state of generators of its own, as JSON."""

    def load_draws(self, draws: str) -> None:
        """Takes what :meth:`draws` gave."""

    def held_out(self) -> PreprocessedImages:
        """Images that are never trained on."""


class _Scans:
    """Distorted scans of the train partition."""

    def __init__(self, module: nn.Module, seed: int, train_images: int | None) -> None:  # noqa: ARG002
        self._source, self._config = DigitsSource(), _data_config(module)
        train = np.flatnonzero(self._source.partition == TRAIN)[:train_images]
        self._images = load_images(self._source, train, self._config)
        self.labels = self._images.labels
        self._distortion = Distortion()

    def batch(self, scans: torch.Tensor, generator: torch.Generator) -> _Batch:
        pixels = self._distortion.apply(self._images.pixels[scans].float(), generator)
        return _Batch(self._images.normalised(pixels), self.labels[scans].unsqueeze(1))

    def draws(self) -> str:
        return ""

    def load_draws(self, draws: str) -> None:
        """There are none."""

    def held_out(self) -> PreprocessedImages:
        held_out = np.flatnonzero(self._source.partition == HELD_OUT)
        return load_images(self._source, held_out, self._config)


class _Canvases:
    """Every scan in another canvas each time, with two others."""

    def __init__(self, module: nn.Module, seed: int, train_images: int | None) -> None:
        self._config = _data_config(module)
        scans, labels = training_scans()
        self.labels = torch.from_numpy(labels[:train_images])
        self._canvases = Canvases(scans[:train_images])
        self._rng = np.random.default_rng(seed)

    def batch(self, scans: torch.Tensor, generator: torch.Generator) -> _Batch:
        others = torch.randint(len(self.labels), (len(scans), DIGITS_READ - 1), generator=generator)
        read = torch.cat([scans.unsqueeze(1), others], dim=1)
        read = read.gather(1, torch.rand(read.shape, generator=generator).argsort(dim=1))
        composed = [self._canvases.compose(row, self._rng) for row in read.tolist()]
        canvases, within = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*composed, strict=True))
        pixels = canvases.unsqueeze(1).float() / 255.0
        mean, std = float(self._config["mean"][0]), float(self._config["std"][0])
        return _Batch((pixels - mean) / std, self.labels[read], within)

    def draws(self) -> str:
        return json.dumps(self._rng.bit_generator.state)

    def load_draws(self, draws: str) -> None:
        self._rng.bit_generator.state = json.loads(draws)

    def held_out(self) -> PreprocessedImages:
        source = ClutteredDigitsSource()
        return load_images(source, np.flatnonzero(source.partition == TEST), self._config)


def _data_config(module: nn.Module) -> dict[str, Any]:
    ensure_torchvision()
    import timm.data

    return dict(timm.data.resolve_data_config({}, model=module))


class _Learner(nn.Module):
    """A model whose tokens learn which digit they are in as well (Jiang et al., arXiv 2104.10858).

    From what a whole image shows alone, nothing is learned for long: there are few images, and a class token
    sees the mean of all their tokens at first. What the tokens tell by goes with the training.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.tokens = nn.Linear(cast(int, module.num_features), DIGITS * DIGITS_READ + 1)
        nn.init.zeros_(self.tokens.weight)
        nn.init.zeros_(self.tokens.bias)

    def forward(self, batch: _Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the losses of all digits, and what is to be added for the tokens."""
        module: Any = self.module
        features = module.forward_features(batch.images)
        logits = module.forward_head(features).view(batch.digits.numel(), DIGITS)
        loss = cross_entropy(logits, batch.digits.flatten(), label_smoothing=LABEL_SMOOTHING, reduction="sum")
        if batch.within is None:
            return loss, torch.zeros(())
        labels = _of_tokens(batch, features)
        tokens = features.flatten(1, -2)[:, -labels.shape[1] :]
        told = cross_entropy(self.tokens(tokens).flatten(0, 1), labels.flatten(), reduction="sum")
        return loss, told * batch.digits.numel() / labels.numel()


def _of_tokens(batch: _Batch, features: torch.Tensor) -> torch.Tensor:
    """What tokens are to tell ``[n, tokens]``: a digit at its place in the number, or the last for none."""
    assert batch.within is not None
    side = math.isqrt(features.flatten(1, -2).shape[1])  # tokens of classes are fewer than a row
    step = batch.within.shape[-1] // side
    places = batch.within[:, step // 2 :: step, step // 2 :: step].flatten(1)
    digits = batch.digits.gather(1, places.clamp(min=0))
    return torch.where(places < 0, DIGITS * DIGITS_READ, DIGITS * places + digits)


class _Lessons:
    """A model that is trained in place with AdamW, warm-up and a cosine schedule; see :class:`Course`.

    Args:
        module: The model.
        train: What it is trained on.
        model: How.
        epochs: Passes over the scans.
        seed: Of their order and distortions.
        pool: Computes the parts of a batch.
    """

    def __init__(
        self,
        module: nn.Module,
        train: _TrainingImages,
        model: DigitsModel,
        epochs: int,
        seed: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.epochs = epochs
        self._train, self._model, self._pool = train, model, pool
        self._generator = torch.Generator().manual_seed(seed)
        self._learner = learner = _Learner(module)
        # Weight decay is for matrices only, not for biases, norms, class token and positions.
        matrices = [p for name, p in learner.named_parameters() if p.ndim > 1 and name.endswith(".weight")]
        chosen = {id(p) for p in matrices}
        others = [p for p in learner.parameters() if id(p) not in chosen]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        betas = 0.9, model.second_moment
        self._optimizer = torch.optim.AdamW(groups, lr=model.learning_rate, betas=betas, fused=True)
        steps = epochs * math.ceil(len(train.labels) / model.batch)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: _share(step, steps, model.warmup)
        )
        learner.train()

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "learner": self._learner.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "generator": self._generator.get_state(),
            "images": self._train.draws(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes what :meth:`state` gave."""
        self._learner.load_state_dict(state["learner"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._generator.set_state(state["generator"])
        self._train.load_draws(state["images"])

    def batches(self, epoch: int, start: int) -> Iterator[_Batch]:  # noqa: ARG002 - draws follow each other
        """The batches of an epoch; they go on from the draws of the one before."""
        assert start == 0
        order = torch.randperm(len(self._train.labels), generator=self._generator)
        for chosen_scans in torch.split(order, self._model.batch):
            yield self._train.batch(chosen_scans, self._generator)

    def learn(self, batch: _Batch) -> tuple[float, int]:
        """Makes a step."""
        loss = _gradients(self._learner, batch, self._model.parts, self._pool)
        nn.utils.clip_grad_norm_(self._learner.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()
        return loss, len(batch.images)


def _gradients(learner: _Learner, batch: _Batch, parts: int, pool: ThreadPoolExecutor) -> float:
    """Sets the gradients of the mean loss of a digit and returns that; parts are summed in order."""
    parameters = list(learner.parameters())

    def of_part(part: _Batch) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
        loss, further = (value / batch.digits.numel() for value in learner(part))
        return loss.detach(), torch.autograd.grad(loss + further, parameters, allow_unused=True)

    losses, gradients = zip(*pool.map(of_part, batch.parts(parts)), strict=True)
    for parameter, of_parts in zip(parameters, zip(*gradients, strict=True), strict=True):
        parameter.grad = None if of_parts[0] is None else torch.stack(of_parts).sum(0)
    return float(sum(losses))


def _share(step: int, steps: int, rise: float) -> float:
    """Share of the peak learning rate: linear in the first steps, then half a cosine down to 0."""
    warmup = max(1, round(rise * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
