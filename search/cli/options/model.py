"""Options that say what is evaluated and how it is quantized, shared by the commands that prepare a model."""

from __future__ import annotations

import argparse

from bitfront.evaluators.data.registry import DIGITS, FORMS
from bitfront.evaluators.latency.registry import MEASURED, TIMED_RUNTIMES, TORCH, shipped_profiles
from bitfront.evaluators.models.digits_models import EMBEDDED
from bitfront.evaluators.preparation.recipes import INGREDIENTS, RECIPES
from bitfront.evaluators.quantizers.registry import OBSERVERS
from bitfront.search.cli.options.common import positive, positive_or_auto
from bitfront.spaces import SCHEMES
from bitfront.spaces.schemes import FQ_VIT


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Model, weights, data and splits."""
    group = parser.add_argument_group("model and data")
    add_weights_options(group)
    group.add_argument(
        "--data",
        default=DIGITS,
        metavar="DATA",
        help=f"{FORMS} with columns path,label (default: %(default)s)",
    )
    group.add_argument(
        "--calibration-images",
        type=positive,
        default=128,
        metavar="N",
        help="images that set the quantization ranges (default: %(default)s)",
    )
    group.add_argument(
        "--search-images",
        type=positive,
        metavar="N",
        help="images that candidates are scored on (default: a share of the data)",
    )
    group.add_argument(
        "--test-images",
        type=positive,
        metavar="N",
        help="images for the final figures (default: all that are left)",
    )


def add_weights_options(group: argparse._ArgumentGroup) -> None:
    """Model and weights."""
    group.add_argument(
        "--model",
        default=EMBEDDED,
        metavar="NAME",
        help="digits_deit (built in), digits_vit, digits_swin, or the name of a timm ViT, DeiT or Swin "
        "(default: %(default)s)",
    )
    weights = group.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", metavar="FILE", help="weights file (.pth or .safetensors)")
    weights.add_argument("--pretrained", action="store_true", help="take timm's weights from the model hub")


def add_quantization_options(parser: argparse.ArgumentParser) -> None:
    """Scheme, recipe and observer."""
    group = parser.add_argument_group("quantization")
    group.add_argument(
        "--scheme",
        choices=tuple(SCHEMES),
        default=FQ_VIT,
        help="; ".join(f"{name}: {kind.summary}" for name, kind in SCHEMES.items())
        + " (default: %(default)s)",
    )
    group.add_argument(
        "--recipe",
        choices=tuple(RECIPES),
        default="best",
        help="how weights and ranges are chosen: with everything that helps, with compensated weights and "
        "fitted ranges alone, or as FQ-ViT was published (default: %(default)s)",
    )
    group.add_argument(
        "--without",
        type=ingredients,
        default=(),
        metavar="LIST",
        help=f"ingredients of the recipe to leave out, out of {', '.join(INGREDIENTS)}; `bitfront profile` "
        "says what they do",
    )
    group.add_argument(
        "--observer",
        choices=tuple(OBSERVERS),
        help="how activation ranges are found (default: as the recipe has it)",
    )


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
    """The sources that measure, in words: which runs every scheme, and which one alone."""
    others = [name for name, kind in TIMED_RUNTIMES.items() if len(kind.schemes) < len(SCHEMES)]
    named = " or ".join(f"{MEASURED}:{name}" for name in others)
    return f"{MEASURED}:{TORCH}, or {named} for scheme {TIMED_RUNTIMES[others[0]].schemes[0]}"


def add_latency_option(group: argparse._ArgumentGroup) -> None:
    """``--latency``."""
    group.add_argument(
        "--latency",
        default="measured",
        metavar="SOURCE",
        help=f"{measured_sources()} (on this machine, now), table:FILE (made by `bitfront latency-table`, or "
        "filled in elsewhere), or model:NAME or model:FILE.toml (modelled: "
        f"{', '.join(shipped_profiles())}, or a profile of your own) "
        "(default: %(default)s, which is measured:torch)",
    )
    add_latency_batch_option(group)


def add_latency_batch_option(group: argparse._ArgumentGroup) -> None:
    """``--latency-batch``."""
    group.add_argument(
        "--latency-batch",
        type=positive,
        default=1,
        metavar="N",
        help="images in the batch that latencies are for (default: %(default)s, or the table's)",
    )


def add_device_option(group: argparse._ArgumentGroup, what: str) -> None:
    """``--device``; ``what`` it is for begins its help."""
    group.add_argument(
        "--device",
        default="cpu",
        metavar="DEVICE",
        help=f"{what}: cpu, cuda or cuda:N (default: %(default)s)",
    )


def add_machine_options(group: argparse._ArgumentGroup) -> None:
    """Device, batch size and threads."""
    add_device_option(group, "what accuracy is evaluated on")
    group.add_argument(
        "--batch-size",
        type=positive_or_auto,
        metavar="N",
        help="images in a batch when accuracy is evaluated, or auto to measure what is quickest "
        "(default: auto)",
    )
    group.add_argument(
        "--threads",
        type=positive_or_auto,
        metavar="N",
        help="batches that each process evaluates at the same time, or auto to measure what is quickest "
        "(default: auto; 1 where several workers share the machine)",
    )
