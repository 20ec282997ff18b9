"""What a benchmark is asked for and what takes part in it, read before anything is loaded."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.deployment.runtimes.registry import (
    runtime_is_installed,
    runtime_named,
)
from bitfront.evaluators.progress import ShareDone
from bitfront.search.cli.commands.bench import RUNTIMES
from bitfront.search.cli.options.specs import evaluation_spec, spec_changes
from bitfront.search.session.specs import recorded_spec
from bitfront.spaces import SCHEMES, BitConfig, Triple, UserError, parse_uniform
from bitfront.spaces.quantities import parse_duration

if TYPE_CHECKING:
    from bitfront.evaluators.latency.bench.suite import BenchedModel, NamedConfig, Suite


NONE = "none"
TORCH = "torch"
GRAPH_SCHEME = "deploy"
LARGEST_BATCH = 1024


@dataclass(frozen=True)
class BenchOptions:
    """The lists of a benchmark.

    Attributes:
        uniform: Uniform configurations by name.
        configs: Files of others.
        runtimes: Installed ones that take part.
        baselines: Other models to compare with.
        batches: Images of a batch, ascending.
        budget_s: Seconds for timing.
        notes: Why runtimes are missing.
    """

    uniform: dict[str, Triple]
    configs: tuple[Path, ...]
    runtimes: tuple[str, ...]
    baselines: tuple[str, ...]
    batches: tuple[int, ...]
    budget_s: float
    notes: tuple[str, ...]

    @classmethod
    def of(cls, args: argparse.Namespace) -> BenchOptions:
        """Reads the arguments.

        Raises:
            UserError: A list has something else in it, or a runtime is not installed or does not run the
                scheme.
        """
        uniform = {
            f"W{w}A{a}T{t}": (w, a, t) for w, a, t in map(parse_uniform, _words(args.uniform, "--uniform"))
        }
        runtimes, notes = _runtimes(args)
        return cls(
            uniform,
            tuple(args.config),
            runtimes,
            _words(args.baselines, "--baselines"),
            _batches(args.batches),
            parse_duration(args.budget),
            notes,
        )


def _words(text: str, option: str) -> tuple[str, ...]:
    """Words between commas, once each; none for ``none``."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if words == (NONE,):
        return ()
    if not all(words) or NONE in words:
        raise UserError(f"{option} {text!r} is no list: separate names by commas, or give none")
    return words


def _batches(text: str) -> tuple[int, ...]:
    words = _words(text, "--batches")
    if not words or not all(word.isdecimal() and 0 < int(word) <= LARGEST_BATCH for word in words):
        raise UserError(
            f"--batches {text!r} is no list of numbers from 1 to {LARGEST_BATCH}: give some such as 1,8"
        )
    return tuple(sorted({int(word) for word in words}))


def _runtimes(args: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those asked for, or all that are installed, and a note for each that is not."""
    if args.runtimes is None:
        missing = [name for name in RUNTIMES if name != TORCH and not runtime_is_installed(name)]
        notes = [
            f"{name} is not installed and left out: pip install 'bitfront[runtimes]'" for name in missing
        ]
        return tuple(name for name in RUNTIMES if name not in missing), tuple(notes)
    names = _words(args.runtimes, "--runtimes")
    if not names:
        raise UserError(f"--runtimes {args.runtimes}: give at least one of {', '.join(RUNTIMES)}")
    for name in names:
        if name not in RUNTIMES:
            raise UserError(f"--runtimes: unknown runtime {name!r}: choose from {', '.join(RUNTIMES)}")
        if name != TORCH:
            runtime_named(name)
    _check_scheme(args.scheme, names)
    return names, ()


def _check_scheme(scheme: str, names: Sequence[str]) -> None:
    graphs = [name for name in names if name != TORCH]
    if graphs and scheme != GRAPH_SCHEME:
        others = ", ".join(other for other in SCHEMES if other != GRAPH_SCHEME)
        raise UserError(
            f"{graphs[0]} runs scheme {GRAPH_SCHEME} only: give --scheme {GRAPH_SCHEME}, or --runtimes "
            f"{TORCH} for {others}"
        )


Document = dict[str, Any]
# Below this many pixels convolutional networks have nothing left to convolve.
LEAST_SIDE = 64
NO_BFLOAT16 = (
    "this processor has no bfloat16 instructions (such as avx512_bf16 or amx_bf16): bfloat16 is left out"
)


def bench_spec(
    args: argparse.Namespace, options: BenchOptions, documents: Mapping[Path, Document]
) -> EvaluationSpec:
    """The spec of the arguments, on the settings under which the first configuration was found.

    Raises:
        UserError: A configuration is for another model or scheme.
    """
    configs = {path: BitConfig.from_json(document) for path, document in documents.items()}
    of_configs = {width for config in configs.values() for width in config.widths()}
    widths = tuple(sorted(of_configs.union(*options.uniform.values()))) or (8,)
    recorded = [found for found in map(_recorded, documents.values()) if found is not None]
    if recorded:
        scheme = next(iter(configs.values())).scheme
        spec = recorded_spec({**recorded[0], "widths": widths, "scheme": scheme}, spec_changes(args))
    else:
        spec = evaluation_spec(args, widths)
    for path, config in configs.items():
        both = (("model", config.model, spec.model), ("scheme", config.scheme, spec.scheme))
        for option, theirs, ours in both:
            if theirs != ours:
                raise UserError(f"{path} is for {option} {theirs}, not {ours}: give --{option} {theirs}")
    return spec


def _recorded(document: Document) -> Document | None:
    """The spec under which a configuration was found."""
    provenance = document.get("provenance")
    recorded = provenance.get("evaluation") if isinstance(provenance, dict) else None
    return recorded if isinstance(recorded, dict) else None


def bench_entries(
    model: BenchedModel, options: BenchOptions, documents: Mapping[Path, Document]
) -> list[NamedConfig]:
    """The uniform configurations and those of files, which go by their names.

    Raises:
        UserError: A configuration does not fit the model, or two have the same name.
    """
    from bitfront.evaluators.latency.bench.suite import NamedConfig
    from bitfront.evaluators.latency.timed_runtime import Subject
    from bitfront.evaluators.quantized.prepared import check_config

    subject = Subject(model.prepared, model.module)
    entries = {name: NamedConfig(name, subject.uniform(bits), bits) for name, bits in options.uniform.items()}
    for path, document in documents.items():
        config = BitConfig.from_json(document)
        check_config(config, model.prepared.blueprint, model.prepared.scheme)
        if path.stem in entries:
            raise UserError(f"two configurations are called {path.stem}: rename one of the files")
        entries[path.stem] = NamedConfig(path.stem, config)
    return list(entries.values())


def bench_suite(
    args: argparse.Namespace,
    options: BenchOptions,
    model: BenchedModel,
    entries: Sequence[NamedConfig],
    place: Path,
    share_done: ShareDone,
) -> Suite:
    """Writes the candidates' files into a folder."""
    from bitfront.evaluators.latency.bench.suite import make_suite
    from bitfront.evaluators.latency.bench.torch_entries import computes_bfloat16

    notes, side, baselines = [], min(model.shape[1:]), options.baselines
    if side < LEAST_SIDE and "baselines" not in args.given:
        baselines = ()
        notes.append(f"baselines are left out: images of {side} pixels are too small for them")
    bfloat16 = computes_bfloat16()
    if not bfloat16:
        notes.append(NO_BFLOAT16)
    found = make_suite(model, entries, options.runtimes, baselines, bfloat16, place, share_done)
    return dataclasses.replace(found, notes=(*notes, *found.notes))
