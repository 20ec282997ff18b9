"""``bitfront refine``: recovery of a bit configuration by learning."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.search.cli.options.common import (
    Group,
    add_run_argument,
    natural,
    open_chosen_run,
    option,
    positive,
)
from bitfront.search.cli.options.groups import (
    add_choice_limits,
    add_model_options,
    add_quantization_options,
    choice_limits,
    choice_words,
)
from bitfront.search.runs.names import command_line, run_command

if TYPE_CHECKING:
    from bitfront.search.runs.refinement import Refinement
    from bitfront.search.session.run import Run

SUMMARY = "recover accuracy of a configuration by learning"
DETAIL = """\
Refines a point of a run's front, or the bit config of a file: its bits stay what they are, and scales, biases
and roundings are learned so that it decides as the float model does. Labels are not needed and not looked at:
it learns from the images that calibrate and from those that no split has, never from images that it is then
evaluated on. What helped is kept beside the point; what did not changes nothing, and is said.

  bitfront refine RUN --pick knee
  bitfront refine RUN --pick 17 --images 1024 --refine-data photos
  bitfront refine --config bits.json --model deit_tiny_patch16_224 --checkpoint F --data D
"""
_DEFAULT = RefinementSpec()
# Options of the learning by their field, with what is written behind them.
_LEARNING: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "encoder_passes": (
        "--encoder-passes N",
        "times that every image is learned from by one encoder after another; 0 leaves it out",
        natural,
    ),
    "passes": ("--passes N", "times that all encoders together learn from it behind that", positive),
    "batch": ("--batch N", "images of a step", positive),
    "rate": ("--rate X", "factor of all learning rates", float),
    "held_out": ("--held-out N", "images that judge and are never learned from", positive),
    "threads": ("--threads N", "threads that compute", positive),
}
_WITHOUT = {"held_out": "an eighth, 16 to 64", "threads": "all CPUs"}
# Where the files of a run have moved to.
_PLACES = ("checkpoint", "data", "calibration_data", "test_data", "class_map")
_OF_RUN = {"run", "runs_dir", "pick"}
_OWN = {"seed", "images", "refine_data", "force", *_LEARNING}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_run_argument(parser)
    which = parser.add_mutually_exclusive_group()
    points = (
        "knee (or star), an objective (top1: best, latency: fastest, size: smallest), nearest (to the limits "
        "below), weights such as top1=2,size=1, or a trial number (default: knee)"
    )
    option(which, "--pick POINT", points)
    option(which, "--config FILE", "a bit config of no run, with the options of model and data below")
    place = "folder of what is refined by --config (default: MODEL-DIGEST-refined)"
    option(parser, "--output FOLDER", place, Path)
    option(parser, "--force", "refine again what is refined, or begin again what was interrupted")
    went = "go on with a refinement that was interrupted or killed: it ends in the same result"
    option(parser, "--resume", went)
    add_choice_limits(parser)
    _add_learning_options(parser.add_argument_group("learning"))
    add_model_options(parser, checked=False)
    add_quantization_options(parser)
    # What learning starts from is what processors calibrate: another device rounds otherwise.
    parser.set_defaults(device="cpu", batch_size=None)


def _add_learning_options(group: Group) -> None:
    images = (
        "images to learn from: those that calibrate first, then others that neither steer nor report "
        "(default: all of them, up to 1024)"
    )
    option(group, "--images N", images, positive)
    others = (
        "where the others come from: every image below a folder, or data in any other form; labels are "
        "ignored (default: what the splits leave of --data)"
    )
    option(group, "--refine-data DATA", others)
    option(group, "--seed N", "of the order of images", natural, _DEFAULT.seed)
    option(group, "--split-seed N", "with --config: seed of the splits, as --seed of a search", natural, 0)
    for name, (words, meaning, kind) in _LEARNING.items():
        usual = getattr(_DEFAULT, name)
        shown = _WITHOUT[name] if usual is None else f"{usual:g}"
        option(group, words, f"{meaning} (default: {shown})", kind, usual)


def run(args: argparse.Namespace) -> int:
    """Refines, and prints what it brought."""
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.refinement import print_refinement

    of_run = args.config is None and args.output is None
    _check(args, of_run)
    chosen = open_chosen_run(args) if of_run else None
    try:
        found = _refined_run(args, chosen) if chosen is not None else _refined_config(args)
    except KeyboardInterrupt:
        hint(_resume_command(args, chosen))
        raise
    if args.json:
        print_json(found.to_json())
        return 0
    print_refinement(found)
    hint(*_next(found, chosen, args))
    return 0


def _check(args: argparse.Namespace, of_run: bool) -> None:
    """Refuses options that say nothing of what is refined.

    Raises:
        UserError: One was written.
    """
    from bitfront.spaces import UserError

    of_runs = _OF_RUN | set(choice_limits(args))
    allowed = {"resume", "force", *(of_runs | set(_PLACES) if of_run else ())}
    allowed |= set() if args.resume else _OWN
    if not of_run:
        foreign = sorted(args.given & of_runs)
        reason = "is for a point of a run, and --config and --output are for a configuration of none"
    else:
        foreign = sorted(args.given - allowed)
        reason = "is for --config: a run has its own model, data and settings"
    if args.resume:
        foreign = foreign or sorted(args.given - {*allowed, "output"})
        reason = "cannot be given with --resume: what was begun keeps its settings"
    if foreign:
        name = "RUN" if foreign[0] == "run" else f"--{foreign[0].replace('_', '-')}"
        raise UserError(f"{name} {reason}")


def _refined_run(args: argparse.Namespace, chosen: Run) -> Refinement:
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.refine import refine_run

    places = {name: getattr(args, name) for name in _PLACES if name in args.given}
    chosen = chosen.within(**choice_limits(args))
    return refine_run(chosen, args.pick, **_asked(args), **places, progress=stderr_reporter())


def _refined_config(args: argparse.Namespace) -> Refinement:
    from bitfront.search.cli.options.specs import evaluation_spec, spec_changes
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.refine import refine
    from bitfront.search.session.specs import config_spec, read_config_document
    from bitfront.spaces import BitConfig

    spec = config = None
    if args.config is not None and not args.resume:
        document, own = read_config_document(Path(args.config)), _of_evaluation(args)
        spec = config_spec(document, evaluation_spec(own, ()), spec_changes(own))
        config = BitConfig.from_json(document)
    return refine(spec, config, args.output, **_asked(args), progress=stderr_reporter())


def _of_evaluation(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments as a command has them that evaluates: its seed is that of the splits."""
    given = args.given - {"seed", *_LEARNING} | ({"seed"} if "split_seed" in args.given else set())
    changed = {"seed": args.split_seed, "threads": None, "given": given}
    return argparse.Namespace(**{**vars(args), **changed})


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """What is asked of the learning."""
    if args.resume:
        return {"resume": True}
    learning = RefinementSpec(seed=args.seed, **{name: getattr(args, name) for name in _LEARNING})
    asked = {name: getattr(args, name) for name in ("images", "refine_data", "force")}
    return {**asked, "learning": learning}


def _resume_command(args: argparse.Namespace, chosen: Run | None) -> str:
    if chosen is None:
        return command_line("refine", "--resume", "--output", args.output or "FOLDER")
    pick = [] if args.pick is None else ["--pick", args.pick, *choice_words(args)]
    return run_command(chosen.path, "refine", chosen.name, *pick, "--resume")


def _next(found: Refinement, chosen: Run | None, args: argparse.Namespace) -> list[str]:
    if chosen is not None:
        refined = ["--refined"] if found.helped else []
        export = run_command(chosen.path, "export", chosen.name, "--pick", found.trial, *refined)
        return [export, run_command(chosen.path, "front", chosen.name)] if found.helped else [export]
    config = found.bit_config.parent if found.bit_config is not None else args.config
    return [command_line("evaluate", "--config", config)] if config is not None else []
