"""Images to train on: those that a later search leaves, varied and mixed by timm, the same for a seed."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.context.preparing import source_of, splits_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.class_map import PLAIN
from bitfront.evaluators.data.cluttered import CanvasesToTrainOn
from bitfront.evaluators.data.registry import CLUTTERED
from bitfront.evaluators.data.sample_depth import SampleDepth, depth_of
from bitfront.evaluators.data.source import (
    CALIBRATING,
    TEST,
    TRAIN,
    CorruptImageError,
    ImageSource,
    has_two_orders,
    is_of_whole_numbers,
    with_channels,
)
from bitfront.evaluators.data.splits import LARGEST_DEFAULT_TEST, Splits, default_search_images, stratified
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.evaluators.training.recipe import LIGHT, NONE, TrainingRecipe
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line
from bitfront.spaces.quantities import count_of

log = logging.getLogger(__name__)

# Of images that serve for everything, the share of each of the splits that steer and report.
HELD_OUT_SHARE = 0.2
# What a seed draws, so that no two draws are alike.
ORDER, IMAGE, MIXING = 0, 1, 2
_ATTEMPTS = 8


@dataclass(frozen=True, eq=False)
class Sides:
    """The images of a data set, and which of them are trained on.

    Attributes:
        spec: With the sizes of the splits by which a search has the same ones.
        source: Where the images are that a search sees.
        splits: Those that a search with ``spec`` calibrates on, sees and reports on.
        learned: Where the images are that are trained on.
        training: Their positions there, of which none is in a split.
        notes: What was decided, a sentence each.
    """

    spec: EvaluationSpec
    source: ImageSource
    splits: Splits
    learned: ImageSource
    training: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def training_sides(spec: EvaluationSpec, most: int | None = None) -> Sides:
    """Parts the images that are trained on from those that a search of the trained model takes.

    Where images have a training side, that is trained on, but for the images that calibrate. Where they have
    none, as in a single folder, a fifth of them each are kept to steer and to report, by the same seed.

    Args:
        spec: Says where the images are, and the sizes and the seed of the splits.
        most: Images that are trained on at most, of each class in proportion; None for all that are left.

    Raises:
        UserError: The data cannot be used, or there are too few images.
    """
    source, notes = source_of(spec), list[str]()
    if has_two_orders(source) and spec.class_order is None:
        spec = dataclasses.replace(spec, class_order=PLAIN)
        notes.append("class order: plain (torchvision's); --class-order natural is timm's")
    if not _has_training_side(source):
        spec = _with_sizes(spec, source)
    splits = splits_of(spec, source)
    if spec.data == CLUTTERED:
        learned = CanvasesToTrainOn()
        training = _some(learned, np.arange(len(learned)), most, spec.seed)
        told = f"{count_of(len(training), 'canvas', 'canvases')} of scans that no split has"
        notes.append(f"training images: {told}")
        return Sides(spec, source, splits, learned, training, tuple(notes))
    taken = np.concatenate([splits.calibration, splits.search, splits.test])
    training = np.setdiff1d(_learnable(source), taken)
    if not len(training):
        raise UserError(
            f"{source.name} has no image left to train on beside {len(splits.calibration)} to calibrate on, "
            f"{len(splits.search)} to search with and {len(splits.test)} to report on: pass more images or "
            "smaller splits"
        )
    kept = f"{len(splits.calibration)} that calibrate"
    if not _has_training_side(source):
        kept += f", {len(splits.search)} that steer and {len(splits.test)} that report: it has no other side"
    training = _some(source, training, most, spec.seed)
    images = count_of(len(training), "image")
    notes.append(f"training images: {images} of {source.name}, without {kept} (seed {spec.seed})")
    return Sides(spec, source, splits, source, training, tuple(notes))


def _some(source: ImageSource, images: NDArray[np.int64], most: int | None, seed: int) -> NDArray[np.int64]:
    if most is None or most >= len(images):
        return images
    return np.sort(stratified(images, source.labels, np.random.default_rng((seed, most)))[:most])


def _has_training_side(source: ImageSource) -> bool:
    return source.partition is not None and bool((source.partition == TRAIN).any())


def _learnable(source: ImageSource) -> NDArray[np.int64]:
    sides = source.partition
    return np.flatnonzero(np.ones(len(source), bool) if sides is None else np.isin(sides, CALIBRATING))


def _with_sizes(spec: EvaluationSpec, source: ImageSource) -> EvaluationSpec:
    """The spec with sizes of the splits that come of the same images as the training."""
    most = max(1, round(HELD_OUT_SHARE * len(_learnable(source))))
    search = spec.search_images or min(most, default_search_images(spec.tell_apart))
    apart = source.partition is not None and bool((source.partition == TEST).any())
    test = spec.test_images or (None if apart else min(most, LARGEST_DEFAULT_TEST))
    return dataclasses.replace(spec, search_images=search, test_images=test)


def classes_in(source: ImageSource, multiple: bool) -> int:
    """Classes that labels can be."""
    if multiple:
        return int(source.labels.shape[-1])
    return max(int(source.labels.max()) + 1, len(source.class_names or ()))


class Batch(NamedTuple):
    """Images to learn from.

    Attributes:
        pixels: float32, from 0 to 255 ``[n, channels, height, width]``.
        labels: Class indices ``[n]``; probabilities ``[n, classes]`` where images are mixed; ``[n, labels]``
            for any number of labels.
        places: Positions among the images that are trained on ``[n]``.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    places: torch.Tensor

    def parts(self, count: int) -> list[Batch]:
        """Consecutive parts, about as large as each other."""
        split = (values.tensor_split(min(count, len(self.places))) for values in self)
        return [Batch(*values) for values in zip(*split, strict=True)]


class TrainingImages(torch.utils.data.Dataset[Any]):
    """Batches of varied images, each a function of the seed, the epoch and the image alone.

    So a training that is resumed in the middle of an epoch sees what it would have seen.

    Args:
        sides: Which images.
        recipe: How they are varied; settled.
        data_config: timm's resolved preprocessing of the model.
        classes: Outputs of the model.
        multiple: Whether an image has any number of labels.

    Raises:
        UserError: timm does not know the policy of ``recipe.augment``.
    """

    def __init__(
        self,
        sides: Sides,
        recipe: TrainingRecipe,
        data_config: Mapping[str, Any],
        classes: int,
        multiple: bool,
    ) -> None:
        self._source, self._positions, self._recipe = sides.learned, sides.training, recipe
        self._data_config = dict(data_config)
        self._channels = int(data_config["input_size"][0])
        self._transform  # noqa: B018 - making it raises where timm does not know the policy
        self._depth: SampleDepth | None = None
        self._mixing = mixing(recipe, classes, multiple)
        self.labels = torch.from_numpy(self._source.labels[self._positions])
        # What the loader is to load next: it keeps the list itself, whose entries every epoch replaces.
        self._chosen: list[list[tuple[int, int]]] = []

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def batches_per_epoch(self) -> int:
        """Steps of an epoch; one image alone is none, as it cannot be mixed."""
        return -(-len(self) // self._recipe.batch)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int] | str:
        """A varied image, uint8 ``[channels, height, width]``, by epoch and place; why not if unreadable."""
        epoch, place = key
        index = int(self._positions[place])
        try:
            image = self._source.load(index)
            if is_of_whole_numbers(image):
                self._depth = self._depth or depth_of(self._source)
            bits = None if self._depth is None else self._depth.bits
            image = with_channels(image, self._channels, self._source.describe(index), bits)
        except CorruptImageError as error:
            return str(error)
        for attempt in range(_ATTEMPTS):
            seed_all(self._recipe.seed, IMAGE, epoch, place, attempt)
            try:
                pixels = self._transform(image)
            except (
                ValueError
            ):  # PIL refuses to posterize to no bits, which the strongest draw of timm asks for
                continue
            return torch.from_numpy(np.ascontiguousarray(pixels)), place
        return f"{self._source.describe(index)}: no draw of {self._recipe.augment} can be applied to it"

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch in their order, from the one at ``start``."""
        generator = torch.Generator().manual_seed(_one_seed(self._recipe.seed, ORDER, epoch))
        order = torch.randperm(len(self), generator=generator)
        chosen = [part.tolist() for part in torch.split(order, self._recipe.batch)][start:]
        self._chosen[:] = [[(epoch, place) for place in part] for part in chosen]
        for at, (found, left_out) in enumerate(self._loader, start):
            if epoch == 0:
                for reason in left_out:
                    log.warning("left out an image: %s", reason)
            if found is not None:
                seed_all(self._recipe.seed, MIXING, epoch, at)
                yield self._mixed(*found)

    @cached_property
    def _loader(self) -> torch.utils.data.DataLoader[Any]:
        loaders = self._recipe.loaders
        return torch.utils.data.DataLoader(
            self,
            batch_sampler=self._chosen,
            num_workers=loaders,
            collate_fn=_collated,
            # Not forked: this process has threads of its own (of OpenMP, runtimes, a notebook), whose locks a
            # copy of it would wait for. Starting afresh takes seconds, so that they stay for all epochs.
            multiprocessing_context="spawn" if loaders else None,
            persistent_workers=loaders > 0,
        )

    @cached_property
    def _transform(self) -> Any:
        return training_transform(self._recipe, self._data_config)

    def __getstate__(self) -> dict[str, Any]:
        """What a process that loads images is given: what it uses, and nothing of timm or torchvision.

        These it can import only once it has seen to what torchvision may lack.
        """
        left = ("_loader", "_transform", "_mixing")
        return {name: value for name, value in vars(self).items() if name not in left}

    def _mixed(self, pixels: torch.Tensor, places: torch.Tensor) -> Batch:
        labels = self.labels[places]
        if self._mixing is not None and len(places) > 1:
            even = len(places) // 2 * 2
            pixels, places = pixels[:even], places[:even]
            pixels, labels = self._mixing(pixels.float(), labels[:even])
        return Batch(pixels.float(), labels, places)


def _collated(
    found: list[tuple[torch.Tensor, int] | str],
) -> tuple[tuple[torch.Tensor, torch.Tensor] | None, list[str]]:
    """Pixels and places of the images that could be read, and why others could not."""
    left_out = [entry for entry in found if isinstance(entry, str)]
    read = [entry for entry in found if not isinstance(entry, str)]
    if not read:
        return None, left_out
    pixels, places = zip(*read, strict=True)
    return (torch.stack(pixels), torch.tensor(places)), left_out


def training_transform(recipe: TrainingRecipe, data_config: Mapping[str, Any]) -> Any:
    """Timm's transformation of an image, to uint8 pixels ``[channels, height, width]``.

    Raises:
        UserError: timm does not know the policy.
    """
    ensure_torchvision()
    import timm.data

    if recipe.augment == NONE:
        return timm.data.create_transform(**data_config, is_training=False, use_prefetcher=True)
    shared = {name: data_config[name] for name in ("input_size", "interpolation", "mean", "std")}
    try:
        return timm.data.create_transform(
            **shared,
            is_training=True,
            scale=(recipe.crop_scale, 1.0),
            hflip=recipe.mirror,
            color_jitter=None,
            auto_augment=None if recipe.augment == LIGHT else recipe.augment,
            use_prefetcher=True,
        )
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"--augment {recipe.augment!r} is unknown to timm ({one_line(error, 80) or 'no such policy'}): "
            "give none, light, or a policy such as rand-m9-mstd0.5-inc1 or augmix-m3-w3"
        ) from error


def mixing(recipe: TrainingRecipe, classes: int, multiple: bool) -> Any:
    """Timm's Mixup and CutMix of pixels and labels; None where images are not mixed."""
    if not recipe.mixes:
        return None
    ensure_torchvision()
    import timm.data

    kind = {"multi_label": True} if multiple else {}
    return timm.data.Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        label_smoothing=recipe.label_smoothing,
        num_classes=classes,
        **kind,
    )


def seed_all(*parts: int) -> None:
    """Seeds the generators that timm, torchvision and models draw from."""
    seed = _one_seed(*parts)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - timm draws from it
    torch.manual_seed(seed)


def _one_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


@contextmanager
def draws_of_its_own() -> Iterator[None]:
    """Leaves the global generators as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
