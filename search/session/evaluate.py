"""``bitfront evaluate``: accuracy, latency and size of one configuration against the float model."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.environment import describe_evaluator
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.cli.options.specs import evaluation_spec, spec_changes, written_batch
from bitfront.search.reports.evaluation import accuracy_report, print_report
from bitfront.search.session.inputs import preparing
from bitfront.search.session.latency_choice import chosen_latency
from bitfront.search.session.specs import read_config_document, recorded_spec
from bitfront.spaces import BitConfig, UserError, parse_uniform, triples

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.latency.source import LatencySource


DEFAULT_UNIFORM = "W8A8T8"
ShareDone = Callable[[float], None]


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluates a configuration and prints the figures; returns the exit status.

    Raises:
        UserError: The configuration, the model or the data cannot be used.
    """
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.search.reports.console import hint, print_json, stderr_console
    from bitfront.search.reports.progress import stage

    document = None if args.config is None else read_config_document(Path(args.config))
    spec = _spec(args, document)
    source, batch = chosen_latency(args.latency, spec.scheme, written_batch(args))
    console = stderr_console()
    with stage(console, preparing(spec)) as share_done:
        keep_codes = source.measured and source.timer.needs_codes
        context = EvaluationContext.from_spec(spec, share_done, keep_codes)
    config = _config(args, document, context)
    with stage(console, f"classifying {len(context.splits.test)} test images, float and quantized"):
        report = accuracy_report(context, config)
    report |= describe_evaluator(context)
    with stage(console, f"latency ({args.latency}), batch {batch}") as share_done:
        report |= _latency_report(source, batch, context, config, share_done)
    if args.json:
        print_json(report)
        return 0
    print_report(report, measured=spec.batch_size is None and spec.threads is None)
    hint("bitfront search" if args.config is None else "bitfront front")
    return 0


def _spec(args: argparse.Namespace, document: dict[str, Any] | None) -> EvaluationSpec:
    """The spec of the arguments, on the settings under which a bit config was found, where there is one."""
    if document is None:
        bits = parse_uniform(args.uniform or DEFAULT_UNIFORM)
        return evaluation_spec(args, tuple(sorted(set(bits))))
    config = BitConfig.from_json(document)
    provenance = document.get("provenance")
    recorded = provenance.get("evaluation") if isinstance(provenance, dict) else None
    if isinstance(recorded, dict):
        widths = tuple(sorted(config.widths()))
        spec = recorded_spec({**recorded, "widths": widths}, spec_changes(args))
    else:
        spec = evaluation_spec(args, tuple(sorted(config.widths())))
    if "scheme" in args.given and args.scheme != config.scheme:
        raise UserError(
            f"the bit config is for scheme {config.scheme}, not {args.scheme}: give --scheme {config.scheme}"
        )
    spec = dataclasses.replace(spec, scheme=config.scheme)
    if spec.model != config.model:
        raise UserError(
            f"the bit config is for model {config.model}, not {spec.model}: give --model {config.model}"
        )
    return spec


def _config(
    args: argparse.Namespace, document: dict[str, Any] | None, context: EvaluationContext
) -> BitConfig:
    if document is not None:
        return BitConfig.from_json(document)
    bits = parse_uniform(args.uniform or DEFAULT_UNIFORM)
    return BitConfig.uniform(context.spec.model, context.spec.scheme, context.encoders, bits)


def _latency_report(
    source: LatencySource, batch: int, context: EvaluationContext, config: BitConfig, share_done: ShareDone
) -> dict[str, Any]:
    """Latency of the whole model where it is measured, from the table's sum otherwise."""
    from bitfront.evaluators.latency.measured import measure_models
    from bitfront.evaluators.latency.table import TableLatency
    from bitfront.evaluators.latency.timed_runtime import Subject

    subject = Subject(context.prepared, context.model.module)
    if source.measured:
        float_entry, (entry,) = measure_models(source.timer, subject, [config], batch, progress=share_done)
        times, named = (entry.milliseconds, float_entry.milliseconds), source.timer.source
    else:
        table = source.table(subject, batch, share_done)
        latency = TableLatency(table, context.prepared.blueprint, triples(context.spec.widths))
        times, named = (latency.latency_ms(config), table.float_model.milliseconds), table.source
    return {
        **dict(zip(("latency_ms", "fp32_latency_ms"), times, strict=True)),
        "latency_source": named,
        "latency_batch": batch,
        "latency_notes": list(source.notes(context.spec.widths)),
    }
