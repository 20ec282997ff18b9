"""One configuration beside the float model, and an exported file beside the evaluator, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bitfront.search.problem.wording import evaluator, quantization
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.tables import Table
from bitfront.spaces import BitConfig

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext

_OF_BOTH = ("top1", "top1_standard_error", "top5", "loss")


def accuracy_report(context: EvaluationContext, config: BitConfig) -> dict[str, Any]:
    """What a configuration is worth on the test split beside the float model, and its size."""
    spec, quantized, whole = context.spec, context.accuracy(config, "test"), context.float_accuracy("test")
    return {
        "model": spec.model,
        "weights": context.model.weights,
        "data": spec.data,
        "scheme": config.scheme,
        "recipe": spec.recipe,
        "without": list(spec.without),
        "observer": spec.observer,
        "digest": config.digest,
        "encoders": len(context.encoders),
        "skipped_images": list(context.images("test").skipped),
        **quantized.against_float.to_json(),
        **{name: getattr(quantized, name) for name in (*_OF_BOTH, "kl", "agreement")},
        **{f"fp32_{name}": getattr(whole, name) for name in _OF_BOTH},
        "size_bytes": context.size.size_bytes(config),
        "fp32_size_bytes": context.size.float_bytes(),
        "images_per_second": quantized.images / quantized.seconds,
        "fp32_images_per_second": whole.images / whole.seconds,
    }


def print_report(report: dict[str, Any], measured: bool) -> None:
    """Prints a report for a person.

    Args:
        report: Accuracy, latency and evaluator as JSON has them.
        measured: Whether batch size or threads were chosen by measuring.
    """
    console = stdout_console()
    table = Table(("", "quantized", "float32", "difference")).extend(_rows(report))
    console.print(
        f"{report['model']} ({quantization(report)}) on {report['data']}: {report['images']} test images, "
        f"{report['encoders']} encoders, config {report['digest']}\n",
        soft_wrap=True,
    )
    console.print(table)
    console.print()
    print_lines(console, _remarks(report, measured))


def _rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    def row(label: str, name: str, form: str, ratio: str = "", scale: float = 1.0) -> tuple[str, ...]:
        """A figure of both models, and their difference or, where it has a form, their ratio."""
        own, whole = scale * report[name], scale * report[f"fp32_{name}"]
        compared = f"{own / whole:{ratio}}x" if ratio else f"{own - whole:+{form}}"
        return label, f"{own:{form}}", f"{whole:{form}}", compared

    def uncertain(name: str, form: str = ".2f") -> str:
        return f"{report[name]:{form}} ± {report[f'{name}_standard_error']:.2f}"

    latency = f"latency of a batch of {report['latency_batch']} (ms, {report['latency_source']})"
    top1 = uncertain("top1"), uncertain("fp32_top1"), uncertain("top1_difference", "+.2f")
    return [
        ("top-1 %", *top1),
        row("top-5 %", "top5", ".2f"),
        ("same class as float %", f"{report['agreement']:.2f}", "", ""),
        row("loss (nats)", "loss", ".4f"),
        ("KL to float (nats)", f"{report['kl']:.4f}", "", ""),
        row("size (MB)", "size_bytes", ".3f", ".3f", 1e-6),
        row(latency, "latency_ms", ".4g", ".3f"),
        row("images/s when scoring", "images_per_second", ".1f", ".2f"),
    ]


def _remarks(report: dict[str, Any], measured: bool) -> list[str]:
    chosen = " (measured to be quickest)" if measured else ""
    return [
        "± is one standard error; the difference is paired: both models classified the same images",
        _paired(report),
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
        f"right in float32 only: {lost} images, right when quantized only: {won}; were both models equally "
        f"good, so uneven a split would come about with probability {probability} (exact McNemar test)"
    )


def print_verification(report: Mapping[str, Any]) -> None:
    """Prints a verification, as :meth:`bitfront.search.export.verification.Verified.to_json` gives it."""
    products, floor = report["kernels"]["products"], report["evaluator_kernels_equal"]
    kernels = f", {report['kernels']['on_integers']} of {products} matrix products on integer kernels"
    own = "" if floor is None else f"; the evaluator's two sets of kernels agree on {floor:.2f} %"
    lines = [
        f"{report['file']}: {report['file_bytes'] / 1e6:.3f} MB, {report['runtime']} "
        f"{report['runtime_version']}{kernels if products else ''}",
        f"top-1 {report['top1']:.2f} %, evaluator {report['evaluator_top1']:.2f} %: "
        f"{report['top1_difference']:+.2f} \N{PLUS-MINUS SIGN} "
        f"{report['top1_difference_standard_error']:.2f} points on {report['images']} images (allowed "
        f"{report['largest_top1_difference']:.2f})",
        f"equal predictions {report['equal_predictions']:.2f} % (at least "
        f"{report['least_equal_predictions']:.2f} %{own})",
        *(f"note: {note}" for note in report["notes"]),
        "verified" if report["passed"] else f"NOT VERIFIED: {'; '.join(report['faults'])}",
    ]
    print_lines(stdout_console(), lines)
