"""Training of the digits models from nothing, on scans and canvases that no split has."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from bitfront.evaluators.data.cluttered import DIGITS_READ
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.data.registry import CLUTTERED
from bitfront.evaluators.files import check_writable
from bitfront.evaluators.models.checkpoint import round_to_half, write_weights
from bitfront.evaluators.models.digits_models import DEFAULT, DIGITS_MODELS, DigitsModel, build_digits
from bitfront.evaluators.training.digits_images import DrawnCanvases, Scans
from bitfront.evaluators.training.digits_learner import DIGITS, Lessons
from bitfront.evaluators.training.folder import STATE, read_state, write_state
from bitfront.evaluators.training.loop import Position, epochs_of
from bitfront.spaces import UserError

POSITION_TEMPERATURE = 100.0  # wavelengths of up to the grid's size; the usual 10,000 suits far larger grids


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
        kind = DrawnCanvases if asked.data == CLUTTERED else Scans
        train = kind(module, seed, train_images)
        with ThreadPoolExecutor(min(threads, asked.parts)) as pool:
            lessons, position = Lessons(module, train, asked, epochs, seed, pool), Position()
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
