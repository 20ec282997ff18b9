"""The verification of an exported file as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_verification(report: Mapping[str, Any], console: Console) -> None:
    """Prints a verification.

    Args:
        report: As :meth:`bitfront.search.export.verification.Verified.to_json` gives it.
        console: Where to.
    """
    products = report["kernels"]["products"]
    kernels = f", {report['kernels']['on_integers']} of {products} matrix products on integer kernels"
    console.print(
        f"{report['file']}: {report['file_bytes'] / 1e6:.3f} MB, {report['runtime']} "
        f"{report['runtime_version']}{kernels if products else ''}",
        soft_wrap=True,
    )
    difference, error = report["top1_difference"], report["top1_difference_standard_error"]
    console.print(
        f"top-1 {report['top1']:.2f} %, evaluator {report['evaluator_top1']:.2f} %: {difference:+.2f} "
        f"\N{PLUS-MINUS SIGN} {error:.2f} points on {report['images']} images (allowed "
        f"{report['largest_top1_difference']:.2f})",
        soft_wrap=True,
    )
    floor = report["evaluator_kernels_equal"]
    own = "" if floor is None else f"; the evaluator's two sets of kernels agree on {floor:.2f} %"
    console.print(
        f"equal predictions {report['equal_predictions']:.2f} % (at least "
        f"{report['least_equal_predictions']:.2f} %{own})",
        soft_wrap=True,
    )
    for note in report["notes"]:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(
        "verified" if report["passed"] else f"NOT VERIFIED: {'; '.join(report['faults'])}", soft_wrap=True
    )
