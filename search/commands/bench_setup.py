"""What takes part in a benchmark: the spec, the configurations and the baselines of a command's options."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.spec import EvaluationSpec
from bitfront.search.commands.bench_options import BenchOptions
from bitfront.search.commands.evaluation_spec import evaluation_spec, recorded_spec
from bitfront.spaces import BitConfig, UserError

if TYPE_CHECKING:
    from bitfront.evaluators.bench.benched import BenchedModel, Entry
    from bitfront.evaluators.bench.line_up import LineUp

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
        spec = recorded_spec({**recorded[0], "widths": widths, "scheme": scheme}, args)
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
) -> list[Entry]:
    """The uniform configurations and those of files, which go by their names.

    Raises:
        UserError: A configuration does not fit the model, or two have the same name.
    """
    from bitfront.evaluators.bench.benched import Entry
    from bitfront.evaluators.latency import Subject
    from bitfront.evaluators.quantized.config_check import check_config

    subject = Subject(model.prepared, model.module)
    entries = {name: Entry(name, subject.uniform(bits), bits) for name, bits in options.uniform.items()}
    for path, document in documents.items():
        config = BitConfig.from_json(document)
        check_config(config, model.prepared.blueprint, model.prepared.scheme)
        if path.stem in entries:
            raise UserError(f"two configurations are called {path.stem}: rename one of the files")
        entries[path.stem] = Entry(path.stem, config)
    return list(entries.values())


def bench_line_up(
    args: argparse.Namespace,
    options: BenchOptions,
    model: BenchedModel,
    entries: Sequence[Entry],
    place: Path,
    share_done: Callable[[float], None],
) -> LineUp:
    """Writes the contestants' files into a folder."""
    from bitfront.evaluators.bench.bfloat16 import computes_bfloat16
    from bitfront.evaluators.bench.line_up import line_up

    notes, side, baselines = [], min(model.shape[1:]), options.baselines
    if side < LEAST_SIDE and "baselines" not in args.given:
        baselines = ()
        notes.append(f"baselines are left out: images of {side} pixels are too small for them")
    bfloat16 = computes_bfloat16()
    if not bfloat16:
        notes.append(NO_BFLOAT16)
    found = line_up(model, entries, options.runtimes, baselines, bfloat16, place, share_done)
    return dataclasses.replace(found, notes=(*notes, *found.notes))
