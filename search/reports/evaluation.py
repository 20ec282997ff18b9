"""One configuration beside the float model, and an exported file beside the evaluator, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.problem.resolution import Resolution
from bitfront.search.problem.wording import evaluator, quantization
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.tables import Table
from bitfront.spaces.quantities import count_of


def print_report(report: dict[str, Any], measured: bool) -> None:
    """Prints a report for a person.

    Args:
        report: Accuracy, latency and evaluator as JSON has them.
        measured: Whether batch size or threads were chosen by measuring.
    """
    console = stdout_console()
    table = Table(("", "quantized", "float32", "difference")).extend(_rows(report))
    console.print(
        f"{report['model']} ({quantization(report)}) on {report.get('test_data', report['data'])}: "
        f"{count_of(report['images'], 'test image')}, {count_of(report['encoders'], 'encoder')}, "
        f"config {report['digest']}{', refined' if report.get('refinement') else ''}\n",
        soft_wrap=True,
    )
    console.print(table)
    console.print()
    print_lines(console, _remarks(report, measured))


def _rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    def row(label: str, name: str, form: str, ratio: str, scale: float = 1.0) -> tuple[str, ...]:
        """A figure of both models, and their ratio."""
        own, whole = scale * report[name], scale * report[f"fp32_{name}"]
        return label, f"{own:{form}}", f"{whole:{form}}", f"{own / whole:{ratio}}x"

    task = task_named(report["task"])
    threads = f" on {report['latency_threads']} threads" if report["latency_threads"] != 1 else ""
    latency = f"latency of a batch of {report['latency_batch']}{threads} (ms, {report['latency_source']})"
    return [
        *(_metric_row(task.metric(name), report) for name in report["metrics"]),
        row("size (MB)", "size_bytes", ".3f", ".3f", 1e-6),
        row(latency, "latency_ms", ".4g", ".3f"),
        row("images/s when scoring", "images_per_second", ".1f", ".2f"),
    ]


def _metric_row(metric: Metric, report: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """A metric of both models and their difference, each with its standard error where that is known."""

    def cell(name: str, value: float, sign: str = "") -> str:
        error = report.get(f"{name}_standard_error")
        return metric.number(value, sign) + ("" if error is None else f" ± {metric.number(error)}")

    name, whole = metric.name, report.get(f"fp32_{metric.name}")
    if whole is None:
        return metric.heading, cell(name, report[name]), "", ""
    difference = cell(f"{name}_difference", report[name] - whole, "+")
    return metric.heading, cell(name, report[name]), cell(f"fp32_{name}", whole), difference


def _remarks(report: dict[str, Any], measured: bool) -> list[str]:
    chosen = " (measured to be quickest)" if measured else ""
    return [
        "± is one standard error; the difference is paired: both models classified the same images",
        _paired(report),
        _told_apart(report),
        f"scored in {evaluator(report, chosen)}",
        *(f"note: {note}" for note in [*report["latency_notes"], *report["kernel_notes"]]),
        *(f"left out: {reason}" for reason in report["skipped_images"]),
    ]


def _paired(report: dict[str, Any]) -> str:
    """On how many images the models differ, and how easily chance explains it."""
    lost, won, p = report["lost"], report["won"], report["mcnemar_p"]
    if not lost + won:
        return "every image is right in both models or wrong in both"
    probability = f"{p:.2f}" if p >= 0.01 else f"{p:.1g}"
    return (
        f"right in float32 only: {count_of(lost, 'image')}, right when quantized only: {won}; were both "
        f"models equally good, so uneven a split would come about with probability {probability} (exact "
        "McNemar test)"
    )


def _told_apart(report: Mapping[str, Any]) -> str:
    """What the test images tell of a difference like this one."""
    task = task_named(report["task"])
    found = Resolution.of(report["images"], report["lost"] + report["won"])
    return found.words("test", task.metric(task.counted).title)


def _equality(report: Mapping[str, Any], own: str) -> str:
    """How many images are decided alike; where that is asked, how many have the same logits to the bit."""
    if report["to_the_bit"]:
        equal, images = report["bit_equal_images"] or 0, count_of(report["images"], "image")
        return f"all logits equal to the evaluator's to the bit on {equal:,} of {images} (all are asked for)"
    return (
        f"equal predictions {report['equal_predictions']:.2f} % (at least "
        f"{report['least_equal_predictions']:.2f} %{own})"
    )


def print_verification(report: Mapping[str, Any]) -> None:
    """Prints a verification, as :meth:`bitfront.search.export.verification.Verified.to_json` gives it."""
    products, floor = report["kernels"]["products"], report["evaluator_kernels_equal"]
    kernels = f", {report['kernels']['on_integers']} of {products} matrix products on integer kernels"
    own = "" if floor is None else f"; the evaluator's two sets of kernels agree on {floor:.2f} %"
    task = task_named(report["task"])
    name, counted = task.counted, task.metric(task.counted)
    lines = [
        f"{report['file']}: {report['file_bytes'] / 1e6:.3f} MB, {report['runtime']} "
        f"{report['runtime_version']}{kernels if products and not report['to_the_bit'] else ''}",
        f"{counted.title} {report[name]:.2f} %, evaluator {report[f'evaluator_{name}']:.2f} %: "
        f"{report[f'{name}_difference']:+.2f} \N{PLUS-MINUS SIGN} "
        f"{report[f'{name}_difference_standard_error']:.2f} points on "
        f"{count_of(report['images'], 'image')} (allowed {report[f'largest_{name}_difference']:.2f})",
        *(
            f"{metric.title} {metric.written(report[metric.name])}, evaluator "
            f"{metric.written(report[f'evaluator_{metric.name}'])}"
            for metric in map(task.metric, report["metrics"])
        ),
        _equality(report, own),
        *(f"note: {note}" for note in report["notes"]),
        "verified" if report["passed"] else f"NOT VERIFIED: {'; '.join(report['faults'])}",
    ]
    print_lines(stdout_console(), lines)
