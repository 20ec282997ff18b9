"""Groups of options that several commands share: model and data, quantization, space, limits, machine."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

from bitfront.evaluators.data.class_map import CLASS_ORDERS
from bitfront.evaluators.data.image_options import CROP_MODES, INTERPOLATIONS
from bitfront.evaluators.data.registry import FORMS
from bitfront.evaluators.latency.registry import (
    LATENCY_LOAD,
    MEASURED,
    PREFERRED,
    TIMED_RUNTIMES,
    TORCH,
    shipped_profiles,
)
from bitfront.evaluators.models.digits_models import DEFAULT, DIGITS_MODELS, WIDTHS, has_weights, widths_of
from bitfront.evaluators.preparation.recipes import INGREDIENTS, RECIPES
from bitfront.evaluators.quantizers.registry import OBSERVERS
from bitfront.evaluators.tasks.registry import CLASSIFICATION, metric_names, task_names
from bitfront.search.cli.options.common import Group, natural, option, percentage, positive, positive_or_auto
from bitfront.search.problem.spec import CONFIDENCE, SIZED
from bitfront.spaces import GRANULARITIES, SCHEMES
from bitfront.spaces.schemes import AUTO

# Names of the options that choose among the points of a front.
_CHOICE_LIMITS = (
    *("max_latency", "max_size", "max_energy"),
    *("min_top1", "min_metric", "max_metric", "max_drop", "confidence"),
)


def add_model_options(
    parser: argparse.ArgumentParser, checked: bool = True, further_tasks: Sequence[str] = ()
) -> None:
    """Model, weights, data and splits.

    Args:
        parser: Of the command.
        checked: Whether a float model that only guesses is refused.
        further_tasks: Names of tasks that this command knows beside those of classifiers.
    """
    group = parser.add_argument_group("model and data")
    add_weights_options(group)
    add_preprocessing_options(group)
    option(
        group,
        "--data DATA",
        f"{FORMS}; tables have columns path,label, or path and one of 0 and 1 for each label (default: what "
        "a built-in model was made for)",
        default="",
    )
    called = (
        "columns of tables that have the path and the label, such as file,class, or the path and each of "
        "several labels (default: by usual names)"
    )
    option(group, "--columns LIST", called, _names, ())
    add_other_data_options(group, "where {} images come from, in the same forms (default: --data)")
    order = (
        "which label class folders get: plain, as torchvision's ImageFolder (sorted names of the folders at "
        "the top), or natural, as timm (2 before 10, without case; the folder that holds the images is the "
        "class, empty ones are left out) (default: where they differ, what the float model fits)"
    )
    option(group, "--class-order ORDER", order, choices=CLASS_ORDERS)
    mapped = (
        "which output each class folder is: a text file with one class name a line, as timm takes it, a "
        ".csv of name,index, or JSON such as Hugging Face's id2label"
    )
    option(group, "--class-map FILE", mapped)
    task = "what outputs are judged by: classification, or multilabel where an image has any number of labels"
    task += "".join(f", or {name} (see below)" for name in further_tasks)
    option(group, "--task", task, default=CLASSIFICATION, choices=(*task_names(), *further_tasks))
    measured = (
        "metrics to measure beside those that are always measured and traded off, such as "
        "macro_f1,roc_auc,sensitivity:CLASS"
    )
    option(group, "--metrics LIST", measured, _names, ())
    option(group, "--calibration-images N", "images that set the quantization ranges", positive, 128)
    scored = (
        "images that candidates are scored on (default: as many as tell the smallest --max-drop apart, or "
        "half a point; 512 to 10,000, at most half of what calibration leaves)"
    )
    option(group, "--search-images N", scored, positive)
    option(group, "--test-images N", "images for the final figures (default: all that are left)", positive)
    parser.set_defaults(allow_chance=False)
    if checked:
        guess = "go on with a float model that is no better than a guess, or fits other labels far better"
        option(group, "--allow-chance", guess)


def add_other_data_options(group: Group, meaning: str) -> None:
    """``--calibration-data`` and ``--test-data``; their help names the split at ``{}``."""
    for split in ("calibration", "test"):
        option(group, f"--{split}-data DATA", meaning.format(split))


def add_weights_options(group: argparse._ArgumentGroup) -> None:
    """Model and weights."""
    ready = " or ".join(name for name in DIGITS_MODELS if has_weights(name))
    trained = ", ".join(name for name in DIGITS_MODELS if not has_weights(name))
    models = (
        f"{ready} (with weights); {trained} (`bitfront train`); or the name of a vision transformer of timm"
    )
    option(group, "--model NAME", models, default=DEFAULT)
    weights = group.add_mutually_exclusive_group()
    weights_help = (
        "weights file (.pth or .safetensors); FILE:ENTRY takes one of several sets of weights in it"
    )
    option(weights, "--checkpoint FILE", weights_help)
    option(weights, "--pretrained", "take timm's weights from the model hub")
    size = "image size of the model, N or HxW; positions are interpolated (default: that of the weights)"
    option(group, "--image-size SIZE", size)
    group.add_argument("--img-size", dest="image_size", help=argparse.SUPPRESS, default=argparse.SUPPRESS)


def add_preprocessing_options(group: argparse._ArgumentGroup) -> None:
    """How images are preprocessed, under timm's names; the weights say where an option does not."""
    option(group, "--mean M", "mean of each channel, of pixel values from 0 to 1", nargs="+")
    option(group, "--std S", "standard deviation of each channel, of the same values", nargs="+")
    option(group, "--crop-pct SHARE", "share of the resized image that the centre crop takes")
    option(group, "--crop-mode", "how images are resized before the crop", choices=CROP_MODES)
    option(group, "--interpolation", "how images are resized", choices=INTERPOLATIONS)


def add_quantization_options(parser: argparse.ArgumentParser) -> None:
    """Scheme, recipe and observer."""
    group = parser.add_argument_group("quantization")
    schemes = "; ".join(f"{name}: {kind.summary}" for name, kind in SCHEMES.items())
    suits = f"{schemes}; auto: deploy where latency is measured in one of these, else fq-vit"
    option(group, "--scheme", suits, default=AUTO, choices=(AUTO, *SCHEMES))
    recipes = (
        "how weights and ranges are chosen: with everything that helps, so that 4 bits take runtimes little "
        "longer than 8, with compensated weights and fitted ranges alone, or as FQ-ViT or VQ-ViT had it"
    )
    option(group, "--recipe", recipes, default="best", choices=RECIPES)
    left_out = (
        f"ingredients of the recipe to leave out, out of {', '.join(INGREDIENTS)}; `bitfront profile` says "
        "what they do"
    )
    option(group, "--without LIST", left_out, ingredients, ())
    found = "how activation ranges are found (default: as the recipe has it)"
    option(group, "--observer", found, choices=OBSERVERS)


def _names(text: str) -> tuple[str, ...]:
    """Names that are separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def ingredients(text: str) -> tuple[str, ...]:
    """Names of ingredients, separated by commas, in the order of preparation and without repeats."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in INGREDIENTS:
            raise argparse.ArgumentTypeError(
                f"invalid choice: {name!r} (choose from {', '.join(INGREDIENTS)})"
            )
    return tuple(name for name in INGREDIENTS if name in names)


def measured_sources() -> str:
    """The sources that measure, in words: what is chosen, which runs every scheme, and which one alone."""
    others = [name for name, kind in TIMED_RUNTIMES.items() if len(kind.schemes) < len(SCHEMES)]
    named = " or ".join(f"{MEASURED}:{name}" for name in others)
    chosen = " or ".join(f"{MEASURED}:{name}" for name in (*PREFERRED, TORCH))
    return (
        f"{MEASURED}:{TORCH}, or {named} for scheme {TIMED_RUNTIMES[others[0]].schemes[0]}, or {AUTO}, the "
        f"first of {chosen} that is installed and runs the scheme"
    )


def add_latency_option(group: Group) -> None:
    """``--latency``, ``--latency-batch`` and ``--latency-threads``."""
    sources = (
        f"{measured_sources()} (on this machine, now), table:FILE (made by `bitfront latency-table`, or "
        f"filled in elsewhere), or model:NAME or model:FILE.toml (modelled: {', '.join(shipped_profiles())}, "
        "or a profile of your own) (default: %(default)s)"
    )
    option(group, "--latency SOURCE", sources, default=AUTO)
    add_latency_batch_option(group)
    add_latency_threads_option(group)


def add_price_options(parser: argparse.ArgumentParser, several: str = "") -> None:
    """``--latency``, ``--latency-batch`` and ``--latency-threads`` of commands that price a finished run.

    Args:
        parser: Of the command.
        several: What becomes of several sources; empty where there may be one alone.
    """
    group = parser.add_argument_group("prices", "the run as it would stand on another machine")
    sources = (
        "price the trials by another source than the search went by, as search takes it: table:FILE, "
        "model:NAME, or one that is measured here and kept in the run folder; run for its own"
    )
    option(group, "--latency SOURCE", f"{sources}{several}", action="append")
    images = "images in the batch that these latencies are for (default: 1, or the table's)"
    option(group, "--latency-batch N", images, positive)
    add_latency_threads_option(group)


def price_words(args: argparse.Namespace) -> list[str]:
    """What :func:`add_price_options` was given as it was written, for the next commands."""
    return [word for name in ("latency", *LATENCY_LOAD) for word in args.words.get(name, ())]


def add_latency_batch_option(group: Group) -> None:
    """``--latency-batch``."""
    images = "images in the batch that latencies are for (default: %(default)s, or the table's)"
    option(group, "--latency-batch N", images, positive, 1)


def add_latency_threads_option(group: Group) -> None:
    """``--latency-threads``."""
    threads = "threads of the inference that latencies are for (default: 1, or the table's)"
    option(group, "--latency-threads N", threads, positive)


def add_seed_option(group: Group, what: str = "seed of the splits") -> None:
    """``--seed``."""
    option(group, "--seed N", what, natural, 0)


def add_bits_option(group: Group, what: str) -> None:
    """``--bits``."""
    usual, wider = (",".join(map(str, widths)) for widths in (WIDTHS, widths_of(DEFAULT)))
    default = f"default: {usual}, or {wider} for built-in models of cluttered digits"
    option(group, "--bits LIST", f"{what}, from 2 to 8 ({default})")


def add_formats_option(group: Group, what: str) -> None:
    """``--formats``."""
    integers = "int2 to int8; of weights also int2a to int8a, with a zero point for each output channel"
    meaning = (
        f"{what} of kinds, where these are not those of --bits, such as weights=int4,int8,bf16 "
        f"activations=int8,bf16: {integers}; bf16, fp16 and fp32"
    )
    option(group, "--formats KIND=LIST", meaning, nargs="+", default=())


def add_space_options(parser: argparse.ArgumentParser) -> None:
    """Space, objectives and latency."""
    group = parser.add_argument_group("space and objectives")
    space = (
        "one width for each encoder; for its weights, activations and attention; or for each of its layers"
    )
    option(group, "--space", space, default="encoder-kind", choices=GRANULARITIES)
    add_bits_option(group, "allowed widths")
    add_formats_option(group, "allowed number formats")
    held = "kinds that are not searched and their format, such as A8T8 to search weights alone"
    option(group, "--hold FORMATS", held)
    option(group, "--all-genes", "also search genes of which no narrower width saves time or bytes")
    uniform = "also allow the same width everywhere (by default assignments are mixed)"
    option(group, "--allow-uniform", uniform)
    metrics = ", ".join(metric_names(CLASSIFICATION))
    traded = (
        f"what is traded off: latency, size, energy and metrics of the task, such as {metrics} (default: "
        "top1,latency,size, or the first metric of another task)"
    )
    option(group, "--objectives LIST", traded, default=())
    add_latency_option(group)


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """Limits on what is measured."""
    group = parser.add_argument_group("limits")
    _add_cost_limits(group)
    energy = (
        "hardware profile that energy is computed by: model:NAME or model:FILE.toml with a section [energy], "
        "such as model:horowitz45 (default: that of --latency model:NAME)"
    )
    option(group, "--energy PROFILE", energy, default="")
    sized = (
        "the files whose size is limited and traded off (default: with --max-size those of the runtime that "
        "latency is measured in, else packed)"
    )
    option(group, "--size-of FORMAT", f"{', '.join(SIZED)}: {sized}", default="", choices=SIZED)
    slower = "also allow what is slower than the float model, such as where latency is no objective"
    option(group, "--allow-slower", slower)
    larger = "also allow what is larger than at 8 bits throughout, such as where size is no objective"
    option(group, "--allow-larger", larger)
    _add_metric_limits(group, CONFIDENCE)


def add_choice_limits(parser: argparse.ArgumentParser) -> None:
    """The limits of a search once more, on the points of its front."""
    group = parser.add_argument_group("limits", "only points of the front that are within them")
    _add_cost_limits(group)
    _add_metric_limits(group)


def choice_limits(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_choice_limits` was given, as :meth:`bitfront.search.Run.within` takes it."""
    return {name: getattr(args, name) for name in _CHOICE_LIMITS}


def choice_words(args: argparse.Namespace) -> list[str]:
    """The same as it was written, for the next commands."""
    return [word for name in _CHOICE_LIMITS for word in args.words.get(name, ())]


def _add_cost_limits(group: Group) -> None:
    option(group, "--max-latency TIME", "such as 12ms, or 0.9x of the float model's")
    option(group, "--max-size SIZE", "such as 4MB, or 0.6x of the float model's")
    option(group, "--max-energy ENERGY", "of an image, such as 20mJ, or 0.6x of the float model's")


def _add_metric_limits(group: Group, confidence: float | None = None) -> None:
    """``confidence`` is the default; None for that of the run."""
    option(group, "--min-top1 PERCENT", "lowest top-1, such as 70", percentage)
    drop = (
        "by how much a metric may be worse than the float model's: 1 is a point of top-1, macro_f1=1 a point "
        "of macro-F1; may be given again"
    )
    option(group, "--max-drop [METRIC=]VALUE", drop, _points, action="append")
    surely = "probability with which limits on shares of images decided right are to hold on other images"
    surely += "" if confidence else " (default: that of the search)"
    option(group, "--confidence SHARE", surely, _probability, confidence)
    least = "lowest value of a metric, such as macro_f1=70; may be given again"
    option(group, "--min METRIC=VALUE", least, dest="min_metric", default=[], action="append")
    most = "highest value of a metric of which smaller ones are better, such as loss=0.5; may be given again"
    option(group, "--max METRIC=VALUE", most, dest="max_metric", default=[], action="append")


def add_stage_drop_option(group: Group) -> None:
    """``--stage-drop``, of sampler ``progressive``."""
    drop = (
        "points of top-1 that a stage of sampler progressive may cost against the float model before its "
        "most sensitive layers go back (default: what --max-drop allows, or 0.5)"
    )
    option(group, "--stage-drop POINTS", drop, percentage)


def _points(text: str) -> str:
    """A bound of a metric by name, or percentage points."""
    return text if "=" in text else str(percentage(text))


def _probability(text: str) -> float:
    """A probability from 0.5 to below 1, also in percent."""
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        share = math.nan
    if not 0.5 <= share < 1.0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no probability from 0.5 to below 1, such as 0.8 or 80%"
        )
    return share


def add_worker_options(group: argparse._ArgumentGroup) -> None:
    """Who evaluates: workers of this machine or of a cluster, and what they may use."""
    workers = group.add_mutually_exclusive_group()
    option(workers, "--workers N", "evaluation processes (default: chosen for this machine)", positive)
    option(workers, "--cluster URL", "a running Dask scheduler, such as tcp://10.0.0.5:8786")
    sent = "send the model and the images to the workers of --cluster, which do not have them"
    option(group, "--send-data", sent)
    hung = (
        "an evaluation that takes longer has hung: its worker is restarted (default: 20 times the longest "
        "one so far, at least 5m)"
    )
    option(group, "--evaluation-timeout TIME", hung)
    memory = "memory that each worker may take, such as 4GB (default: an equal share of this machine's)"
    option(group, "--worker-memory SIZE", memory)


def add_device_option(group: Group, what: str) -> None:
    """``--device``; ``what`` it is for begins its help."""
    option(group, "--device DEVICE", f"{what}: cpu, cuda or cuda:N", default="cpu")


def add_machine_options(group: Group) -> None:
    """Device, batch size and threads."""
    add_device_option(group, "what accuracy is evaluated on")
    batch = (
        "images in a batch when accuracy is evaluated, or auto to measure what is quickest (default: auto)"
    )
    option(group, "--batch-size N", batch, positive_or_auto)
    threads = (
        "batches that each process evaluates at the same time, or auto to measure what is quickest (default: "
        "auto; 1 where several workers share the machine)"
    )
    option(group, "--threads N", threads, positive_or_auto)
