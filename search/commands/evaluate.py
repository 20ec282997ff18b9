"""``bitfront evaluate``: accuracy, latency and size of one configuration against the float model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.spec import EvaluationSpec
from bitfront.search.commands.evaluation_spec import evaluation_spec, recorded_spec
from bitfront.spaces import BitConfig, UserError, parse_uniform, triples

if TYPE_CHECKING:
    from bitfront.evaluators.context import EvaluationContext
    from bitfront.evaluators.latency import LatencySource

DEFAULT_UNIFORM = "W8A8T8"
LARGEST_CONFIG_BYTES = 10_000_000


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluates a configuration and prints the figures; returns the exit status.

    Raises:
        UserError: The configuration, the model or the data cannot be used.
    """
    from bitfront.evaluators.context import EvaluationContext
    from bitfront.evaluators.latency import latency_source
    from bitfront.search.cli.output import hint, print_json, stderr_console
    from bitfront.search.cli.stages import stage

    source = latency_source(args.latency)
    document = None if args.config is None else _read_document(Path(args.config))
    spec = _spec(args, document)
    console = stderr_console()
    with stage(console, f"loading {spec.model}, calibrating on {spec.calibration_images} images"):
        context = EvaluationContext.from_spec(spec)
    config = _config(args, document, context)
    with stage(console, f"classifying {len(context.splits.test)} test images, float and quantized"):
        report = _accuracy_report(context, config)
    with stage(console, f"latency ({args.latency}), batch {args.latency_batch}") as share_done:
        report |= _latency_report(args, source, context, config, share_done)
    if args.json:
        print_json(report)
        return 0
    _print(report, context)
    hint("bitfront search" if args.config is None else "bitfront front")
    return 0


def _read_document(path: Path) -> dict[str, Any]:
    """A bit config's JSON object.

    Raises:
        UserError: The file is missing, too large or no JSON object.
    """
    try:
        if path.stat().st_size > LARGEST_CONFIG_BYTES:
            raise UserError(f"{path} is too large for a bit config: give a file written by bitfront export")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read as a bit config ({error}): give a file written by bitfront export"
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no JSON object: give a file written by bitfront export")
    return document


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
        spec = recorded_spec({**recorded, "widths": widths}, args)
    else:
        spec = evaluation_spec(args, tuple(sorted(config.widths())))
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


def _accuracy_report(context: EvaluationContext, config: BitConfig) -> dict[str, Any]:
    quantized = context.accuracy(config, "test")
    whole = context.float_accuracy("test")
    return {
        "model": context.spec.model,
        "weights": context.model.weights,
        "data": context.spec.data,
        "scheme": config.scheme,
        "digest": config.digest,
        "images": quantized.images,
        "skipped_images": list(context.images("test").skipped),
        "top1": quantized.top1,
        "top1_standard_error": quantized.top1_standard_error,
        "top5": quantized.top5,
        "loss": quantized.loss,
        "kl": quantized.kl,
        "agreement": quantized.agreement,
        "fp32_top1": whole.top1,
        "fp32_top5": whole.top5,
        "fp32_loss": whole.loss,
        "size_bytes": context.size.size_bytes(config),
        "fp32_size_bytes": context.size.float_bytes(),
        "images_per_second": quantized.images / quantized.seconds,
        "fp32_images_per_second": whole.images / whole.seconds,
        "threads": context.spec.threads,
    }


def _latency_report(
    args: argparse.Namespace,
    source: LatencySource,
    context: EvaluationContext,
    config: BitConfig,
    share_done: Any,
) -> dict[str, Any]:
    """Latency of the whole model where it is measured, from the table's sum otherwise."""
    from bitfront.evaluators.latency import TableLatency
    from bitfront.evaluators.latency.measured import SOURCE, measure_models

    if args.latency.startswith("measured"):
        float_entry, (entry,) = measure_models(
            context.prepared, context.model.module, [config], args.latency_batch, progress=share_done
        )
        times = entry.milliseconds, float_entry.milliseconds, SOURCE, args.latency_batch
    else:
        table = source.table(context.prepared, context.model.module, args.latency_batch, share_done)
        latency = TableLatency(table, context.prepared.blueprint, triples(context.spec.widths)).latency_ms(
            config
        )
        times = latency, table.float_model.milliseconds, table.source, table.batch
    return dict(zip(("latency_ms", "fp32_latency_ms", "latency_source", "latency_batch"), times, strict=True))


def _print(report: dict[str, Any], context: EvaluationContext) -> None:
    from rich.table import Table

    from bitfront.search.cli.output import stdout_console

    console = stdout_console()
    table = Table(box=None, pad_edge=False)
    for heading in ("", "quantized", "float32", "difference"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in _rows(report):
        table.add_row(*row)
    console.print(
        f"{report['model']} on {report['data']}: {report['images']} test images, "
        f"{len(context.encoders)} encoders, config {report['digest']}\n",
        soft_wrap=True,
    )
    console.print(table)
    for reason in report["skipped_images"]:
        console.print(f"left out: {reason}", soft_wrap=True)


def _rows(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    drop = report["top1"] - report["fp32_top1"]
    source, batch = report["latency_source"], report["latency_batch"]
    return [
        (
            "top-1 %",
            f"{report['top1']:.2f} ± {report['top1_standard_error']:.2f}",
            f"{report['fp32_top1']:.2f}",
            f"{drop:+.2f}",
        ),
        (
            "top-5 %",
            f"{report['top5']:.2f}",
            f"{report['fp32_top5']:.2f}",
            f"{report['top5'] - report['fp32_top5']:+.2f}",
        ),
        ("same class as float %", f"{report['agreement']:.2f}", "", ""),
        (
            "loss (nats)",
            f"{report['loss']:.4f}",
            f"{report['fp32_loss']:.4f}",
            f"{report['loss'] - report['fp32_loss']:+.4f}",
        ),
        ("KL to float (nats)", f"{report['kl']:.4f}", "", ""),
        (
            "size (MB)",
            f"{report['size_bytes'] / 1e6:.3f}",
            f"{report['fp32_size_bytes'] / 1e6:.3f}",
            f"{report['size_bytes'] / report['fp32_size_bytes']:.3f}x",
        ),
        (
            f"latency of a batch of {batch} (ms, {source})",
            f"{report['latency_ms']:.4g}",
            f"{report['fp32_latency_ms']:.4g}",
            f"{report['latency_ms'] / report['fp32_latency_ms']:.3f}x",
        ),
        (
            "images/s when scoring",
            f"{report['images_per_second']:.1f}",
            f"{report['fp32_images_per_second']:.1f}",
            f"{report['images_per_second'] / report['fp32_images_per_second']:.2f}x",
        ),
    ]
