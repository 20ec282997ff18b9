"""The evaluation spec: everything a worker needs to rebuild the same evaluation context."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.machine import device_named
from bitfront.evaluators.data.class_map import CLASS_ORDERS
from bitfront.evaluators.data.image_options import OPTIONS, ImageOptions, read_image_options
from bitfront.evaluators.data.registry import path_of
from bitfront.evaluators.files import split_entry, with_entry_of
from bitfront.evaluators.models.digits_models import DEFAULT, data_of, widths_of
from bitfront.evaluators.preparation.recipes import Recipe, recipe_named
from bitfront.evaluators.quantizers.registry import check_observer
from bitfront.evaluators.tasks.registry import CLASSIFICATION, task_named
from bitfront.spaces import Choices, Precision, UserError, check_scheme, parse_bits, parse_formats
from bitfront.spaces.fields import check_fields
from bitfront.spaces.schemes import AUTO, check_formats

# Percentage points between two models that matter where no limit says otherwise.
HALF_A_POINT = 0.5
# Fields that may name files.
DATA_PLACES = ("data", "calibration_data", "test_data")
PLACES = ("checkpoint", *DATA_PLACES, "class_map", "refinement")
# Fields that are lists in JSON.
_LISTS = ("widths", "formats", "without", "metrics", "columns")
# Lists that may be absent.
_OPTIONAL_LISTS = ("image_size", "mean", "std")
# Fields that are written where they are set alone: specs of earlier versions do not have them.
WHERE_SET = (
    *("allow_chance", "calibration_data", "test_data", "class_order", "class_map", "columns", "formats"),
    "refinement",
    *OPTIONS,
)


@dataclass(frozen=True)
class EvaluationSpec:
    """What is evaluated, on which data, how it is quantized and on what it runs.

    Two processes with equal specs build identical calibrated models.

    Attributes:
        model: ``cluttered_deit``, ``digits_deit`` or another of the built-in models, or the name of a timm
            model.
        checkpoint: Path of a weights file, with ``:ENTRY`` for one of several sets of weights in it, or None.
        pretrained: Whether to take timm's hub weights.
        data: ``cluttered``, ``digits``, ``cifar10``, ``cifar10:DIR``, an ImageFolder directory or a
            ``labels.csv`` path; empty for what the model was made for, or ``digits``.
        calibration_data: Where calibration images come from, in the same forms; None for ``data``.
        test_data: Where test images come from, in the same forms; None for ``data``.
        columns: Names of the columns of tables with the path and the label, or the path and each of several
            labels; none where these can be told.
        scheme: Quantization scheme: ``fq-vit`` (all in integers), ``deploy`` (integer matrix products), or
            ``auto`` for what suits where latency comes from
            (:func:`bitfront.evaluators.latency.registry.settled`).
        widths: Bit widths to prepare, ascending; none for 4 and 8, or what a built-in model is searched with.
        formats: Number formats of kinds of tensors that have others than plain integers of ``widths``, such
            as ``weights=int4,int8,bf16``.
        calibration_images: Images used to calibrate.
        search_images: Images of the search split, or None for as many as ``tell_apart`` takes.
        test_images: Images of the test split, or None for all the rest.
        seed: Seed of the splits.
        recipe: Name of the quantization recipe (see :mod:`bitfront.evaluators.preparation.recipes`).
        without: Ingredients of the recipe that are left out.
        observer: Activation observer: ``auto``, ``minmax``, ``ema``, ``percentile`` or ``omse``; None for the
            recipe's.
        device: What evaluates: ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: Images per evaluation batch; None to measure what is quickest.
        threads: Batches that an evaluating process classifies at a time; None to measure what is quickest.
        task: What outputs are judged by: ``classification``, ``multilabel``, or that of another package.
        metrics: Metrics of the task that are measured beside those that every evaluation has.
        first_images: Images of the search split that a candidate is judged on before all the others; None to
            choose by the size of the split.
        tell_apart: Difference of two models in percentage points that the search split is to tell from
            chance where ``search_images`` is None; None for the rule of earlier versions, at most 512 images.
        allow_chance: Whether a float model that is no better than a guess is taken all the same.
        class_order: Order of class folders: ``plain`` (torchvision's) or ``natural`` (timm's); None for one
            that the float model of a new run decides where the labels differ, and else for the plain one.
        class_map: Path of a file that says which output each class name stands for; None for their order.
        image_size: Height and width of the images that the model takes; None as the weights have it.
        mean: Mean of every channel, of values from 0 to 1; None as the weights have it.
        std: Standard deviation of every channel; None as the weights have it.
        crop_pct: Share of the resized image that the crop takes; None as the weights have it.
        crop_mode: ``center``, ``squash`` or ``border``; None as the weights have it.
        interpolation: Of resizing, such as ``bicubic``; None as the weights have it.
        refinement: Path of what ``bitfront refine`` learned for one configuration, which alone can be
            evaluated then; None for the model as calibration left it.
    """

    model: str = DEFAULT
    checkpoint: str | None = None
    pretrained: bool = False
    data: str = ""
    scheme: str = AUTO
    widths: tuple[int, ...] = ()
    calibration_images: int = 128
    search_images: int | None = None
    test_images: int | None = None
    seed: int = 0
    recipe: str = "best"
    without: tuple[str, ...] = ()
    observer: str | None = None
    device: str = "cpu"
    batch_size: int | None = None
    threads: int | None = None
    first_images: int | None = None
    task: str = CLASSIFICATION
    metrics: tuple[str, ...] = ()
    tell_apart: float | None = HALF_A_POINT
    allow_chance: bool = False
    calibration_data: str | None = None
    test_data: str | None = None
    class_order: str | None = None
    class_map: str | None = None
    image_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None
    columns: tuple[str, ...] = ()
    refinement: str | None = None
    formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Takes lists, what people write for widths and preprocessing, and paths for what they stand for."""
        widths: Any = self.widths
        taken: dict[str, Any] = {name: getattr(self, name) for name in PLACES}
        taken = {name: str(place) if isinstance(place, Path) else place for name, place in taken.items()}
        widths = widths or widths_of(self.model)
        taken["widths"] = parse_bits(widths) if isinstance(widths, str) else tuple(widths)
        taken |= {name: tuple(getattr(self, name)) for name in ("without", "metrics", "columns", "formats")}
        taken["data"] = taken["data"] or data_of(self.model)
        taken |= read_image_options({name: getattr(self, name) for name in OPTIONS})
        source, _, folder = self.model.partition(":")
        if source == "local-dir" and Path(folder).exists():
            taken["model"] = f"{source}:{Path(folder).resolve()}"  # so that it holds in any folder
        for name, value in taken.items():
            object.__setattr__(self, name, value)

    @property
    def choices(self) -> Choices:
        """The formats that each kind may take; :class:`UserError` where they cannot be read."""
        return parse_formats(self.formats, self.widths)

    @property
    def image_options(self) -> ImageOptions:
        """What is asked of preprocessing."""
        return ImageOptions(**{name: getattr(self, name) for name in OPTIONS})

    @property
    def resolved(self) -> bool:
        """Whether nothing is left to be measured or chosen."""
        return None not in (self.batch_size, self.threads, self.first_images)

    @property
    def whole_recipe(self) -> Recipe:
        """The recipe less what is left out; :class:`UserError` for unknown names."""
        return recipe_named(self.recipe, self.without)

    def check(self) -> None:
        """Refuses settings that no model could be prepared with, before anything is loaded.

        Raises:
            UserError: An unknown scheme, recipe, ingredient, observer, task or metric, a width that is not
                supported, an unknown class order, a size below 1, or a limit of the cache that is not a size.
        """
        from bitfront.evaluators.preparation.store.store import PreparationStore

        check_scheme(self.scheme)
        device_named(self.device)
        self.whole_recipe  # noqa: B018 - finding it raises
        task_named(self.task).measured(self.metrics)
        if self.observer is not None:
            check_observer(self.observer)
        if self.class_order not in (None, *CLASS_ORDERS):
            raise UserError(
                f"unknown class order {self.class_order!r}: choose one of {', '.join(CLASS_ORDERS)}"
            )
        if len(self.columns) == 1 or len(set(self.columns)) < len(self.columns):
            raise UserError(
                f"--columns {','.join(self.columns)}: give two different columns, that of the paths and that "
                "of the labels, such as file,class"
            )
        for width in self.widths:
            Precision(width, signed=False)
        check_formats(self.choices, self.scheme)
        if self.seed < 0:
            raise UserError(f"--seed {self.seed} is too small: give 0 or more")
        for option, number in (("--batch-size", self.batch_size), ("--threads", self.threads)):
            if number is not None and number < 1:
                raise UserError(f"{option} {number} is too small: give 1 or more")
        PreparationStore.default()

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field; those of ``WHERE_SET`` where they are set alone."""
        found = {**dataclasses.asdict(self), **{name: list(getattr(self, name)) for name in _LISTS}}
        unset = {
            field.name for field in dataclasses.fields(self) if getattr(self, field.name) == field.default
        }
        found |= {name: list(found[name]) for name in _OPTIONAL_LISTS if found[name] is not None}
        return {name: value for name, value in found.items() if name not in unset.intersection(WHERE_SET)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> EvaluationSpec:
        """The inverse of :meth:`to_json`; unknown fields and other types raise TypeError.

        Fields that an earlier version did not have may be absent; splits are those of that version.
        """
        document = {"tell_apart": None, **document}
        check_fields(cls, {name: value for name, value in document.items() if name not in OPTIONS})
        return cls(**document)

    @property
    def places(self) -> dict[str, str]:
        """The fields of ``PLACES`` that are set."""
        found = {name: getattr(self, name) for name in PLACES}
        return {name: place for name, place in found.items() if place is not None}

    def placed(self, place_of: Callable[[str, str], str]) -> EvaluationSpec:
        """The same with its files in other places, which a function gives for a field and its place."""
        places: dict[str, Any] = {name: place_of(name, place) for name, place in self.places.items()}
        return dataclasses.replace(self, **places)

    def at_absolute_places(self) -> EvaluationSpec:
        """The same with the files that it names by absolute paths, so that it holds in any folder."""
        return self.placed(absolute_place)

    def moved(self, **places: str | Path | None) -> EvaluationSpec:
        """The same with the weights or the data in another place.

        Args:
            places: Fields of ``PLACES``; None leaves one where it was. What was in ``data`` moves with it.
        """
        new = {name: absolute_place(name, place) for name, place in places.items() if place is not None}
        if "checkpoint" in new:
            new["checkpoint"] = with_entry_of(self.checkpoint, new["checkpoint"])
        if "data" in new:
            for name in (*DATA_PLACES[1:], "class_map"):
                old = Path(getattr(self, name) or "")
                if name not in new and old != Path() and old.is_relative_to(self.data) and not old.exists():
                    new[name] = absolute_place(name, Path(new["data"]) / old.relative_to(self.data))
        changes: dict[str, Any] = {**new, **({"pretrained": False} if "checkpoint" in new else {})}
        return dataclasses.replace(self, **changes)

    def canonical(self) -> str:
        """The spec as one line of JSON, for use as a cache key."""
        return json.dumps(self.to_json(), sort_keys=True)


def absolute_place(field: str, place: str | Path) -> str:
    """Where weights or data are, as it holds in any folder; as it was written where nothing is there."""
    written = str(place)
    if field == "checkpoint":
        file, entry = split_entry(written)
        found = str(Path(file).resolve()) if Path(file).exists() else file
        return found if entry is None else f"{found}:{entry}"
    path = path_of(written)
    if path is None or not Path(path).exists():
        return written
    return written.removesuffix(path) + str(Path(path).resolve())
