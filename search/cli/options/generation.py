"""Options of ``--task generation``, the spec that they describe, and runs of that task."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.tasks.registry import GENERATION
from bitfront.search.cli.options.common import natural, option, positive
from bitfront.spaces.errors import UserError
from bitfront.spaces.part_formats import FORMATS, USUAL_FORMATS

if TYPE_CHECKING:
    from bitfront.search.runs.generation import GenerationRun
    from bitfront.search.session.generation.spec import GenerationSpec

# Options of a search that hold for this task as well.
_SHARED = frozenset(
    {
        *("task", "objectives", "max_latency", "max_size", "min_metric", "max_metric", "latency_batch"),
        *(
            "formats",
            "threads",
            "sampler",
            "evaluations",
            "time_budget",
            "population",
            "seed",
            "run",
            "resume",
            "runs_dir",
        ),
    }
)
_OWN = (
    *(
        "pipeline",
        "prompts",
        "classes",
        "photographs",
        "photograph_count",
        "side",
        "seeds",
        "steps",
        "guidance",
    ),
    *("search_pictures", "features", "lpips", "whole_components"),
)
# Fields of the spec that are taken where they were written.
_TAKEN = (
    *(
        "objectives",
        "max_latency",
        "max_size",
        "min_metric",
        "max_metric",
        "latency_batch",
        "threads",
        "sampler",
    ),
    *("evaluations", "time_budget", "population", "seed"),
)
_FORMATS = "formats"


def add_generation_options(parser: argparse.ArgumentParser) -> None:
    """The group of options that ``--task generation`` alone has."""
    group = parser.add_argument_group(
        "generation",
        f"with --task {GENERATION}: number formats of the parts of a pipeline that makes pictures; there "
        f"--formats takes a list, some of {','.join(FORMATS)} (default: {','.join(USUAL_FORMATS)})",
    )
    pipeline = (
        "digits_dit (embedded), a folder of diffusers (DiT, Stable Diffusion, or an autoencoder alone), a "
        "folder with NAME_encoder.pth and NAME_decoder.pth of the TAESD family, or a name on the hub"
    )
    option(group, "--pipeline PLACE", pipeline, default="digits_dit")
    option(group, "--prompts FILE", "texts to make pictures of, one a line", Path)
    option(group, "--classes LIST", "classes to make pictures of (default: the first ten)", _numbers)
    option(group, "--photographs DIR", "images that an autoencoder codes")
    option(group, "--photograph-count N", "how many of them are compared (default: all)", positive)
    option(group, "--side N", "pixels of a side of what is cut out of a photograph", positive, 224)
    option(group, "--seeds LIST", "seeds of the pictures of each prompt or class", _numbers, (42, 43, 44))
    option(group, "--steps N", "steps of the scheduler (default: 20)", positive)
    option(group, "--guidance SCALE", "guidance, 1 for none (default: the pipeline's own)", _scale)
    searched = "pictures that candidates are compared by; the front is compared by all (default: all)"
    option(group, "--search-pictures N", searched, positive)
    features = (
        "classifier for FID and KID: MODEL:FILE, digits_deit or none (default: auto, digits_deit for grey "
        "pictures)"
    )
    option(group, "--features MODEL", features, default="auto")
    lpips = "AlexNet's weights for LPIPS: a file or none (default: auto, torchvision's in torch's cache)"
    option(group, "--lpips FILE", lpips, default="auto")
    option(group, "--whole-components", "one gene for each component, none for its blocks")


def generation_spec(args: argparse.Namespace) -> GenerationSpec:
    """The spec that arguments describe.

    Raises:
        UserError: An option is of another task, or cannot be read.
    """
    from bitfront.evaluators.generation.jobs import read_prompts
    from bitfront.search.session.generation.spec import GenerationSpec

    foreign = sorted(args.given - _SHARED - set(_OWN))
    if foreign:
        written = foreign[0].replace("_", "-")
        raise UserError(f"--{written} is for classifiers, not for --task {GENERATION}: leave it out")
    given: dict[str, Any] = {name: getattr(args, name) for name in (*_OWN, *_TAKEN) if name in args.given}
    if "prompts" in given:
        given["prompts"] = read_prompts(given["prompts"])
    if _FORMATS in args.given:
        given[_FORMATS] = ",".join(getattr(args, _FORMATS))
    given = {name: value for name, value in given.items() if value is not None}
    return GenerationSpec(**given)


def check_other_task(args: argparse.Namespace) -> None:
    """Raises :class:`UserError` for options of generation where another task is searched."""
    foreign = sorted(args.given & set(_OWN))
    if foreign:
        written = foreign[0].replace("_", "-")
        raise UserError(f"--{written} is for pipelines that make pictures: give --task {GENERATION} as well")


def generation_run(args: argparse.Namespace, name: str | None) -> GenerationRun | None:
    """The run of that name, or the latest one, where it is of this task; None where it is of another."""
    from bitfront.search.runs.files import is_generation
    from bitfront.search.runs.listing import latest_run
    from bitfront.search.runs.names import checked_name

    chosen = checked_name(name) if name else latest_run(args.runs_dir)
    if not is_generation(args.runs_dir / chosen):
        return None
    from bitfront.search.runs.generation import read_generation_run

    return read_generation_run(args.runs_dir, chosen)


def required_generation_run(args: argparse.Namespace) -> GenerationRun:
    """The chosen run.

    Raises:
        UserError: There is none, or it is of another task.
    """
    from bitfront.search.runs.generation import read_generation_run
    from bitfront.search.runs.listing import latest_run

    return read_generation_run(args.runs_dir, args.run or latest_run(args.runs_dir))


def _numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between."""
    return tuple(natural(part.strip()) for part in text.split(","))


def _scale(text: str) -> float:
    """A number of at least 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return value
