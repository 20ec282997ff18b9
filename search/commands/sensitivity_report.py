"""Sensitivities as a person reads them: a table of the genes and how the rankings agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bitfront.search.wording import MISSING

if TYPE_CHECKING:
    from rich.console import Console

NAMES = {"loss": "loss", "kl": "KL", "top1": "top-1", "gradient": "gradient score"}
Gene = Mapping[str, Any]


def print_sensitivities(document: Mapping[str, Any], console: Console) -> None:
    """Prints what :func:`bitfront.search.commands.sensitivity_document.sensitivity_document` gives."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{document['narrow']} instead of {document['wide']} bits")
    for heading in _headings(document):
        table.add_column(heading, justify="right")
    for gene in document["genes"]:
        table.add_row(gene["gene"], *_cells(gene))
    console.print(table)
    for line in ("", *_notes(document)):
        console.print(line, soft_wrap=True, style="dim")


def _headings(document: Mapping[str, Any]) -> Iterable[str]:
    yield "KB\nsaved"
    ranks = document["genes"][0]["ranks"]
    for name, heading in (
        ("loss", "loss\nmillinats"),
        ("kl", "KL\nmillinats"),
        ("top1", "top-1\npoints"),
        ("gradient", "gradient\nmillinats"),
    ):
        if name in ranks:
            yield heading
            yield "\nrank"


def _cells(gene: Gene) -> Iterable[str]:
    yield f"{gene['bytes_saved'] / 1e3:,.1f}" if gene["bytes_saved"] else MISSING
    ranks = gene["ranks"]
    if "loss" in ranks:
        yield from (f"{1e3 * gene['loss_change']:+.2f}", f"{ranks['loss']:g}")
        yield from (f"{1e3 * gene['divergence']:.2f}", f"{ranks['kl']:g}")
        error = gene["top1_change_standard_error"]
        chance = f" \N{PLUS-MINUS SIGN} {error:.2f}" if error > 0 else ""
        yield from (f"{gene['top1_change']:+.2f}{chance}", f"{ranks['top1']:g}")
    if "gradient" in ranks:
        yield from (f"{1e3 * gene['gradient']:.2f}", f"{ranks['gradient']:g}")


def _notes(document: Mapping[str, Any]) -> Iterable[str]:
    ranks = document["genes"][0]["ranks"]
    if "kl" in ranks:
        yield (
            f"loss, KL, top-1: this gene at {document['narrow']} bits and the others at {document['wide']} "
            f"against all at {document['wide']}, on {document['images']} search images; top-1 with its "
            "paired standard error"
        )
    if "gradient" in ranks:
        yield "gradient: the KL as one pass of gradients over search images predicts it, to second order"
    yield "rank: 1 is the gene that matters most"
    agreements = [
        f"{' and '.join(NAMES[name] for name in pair.split('/'))} {value:.2f}"
        for pair, value in document["rank_correlations"].items()
        if value == value
    ]
    if agreements:
        yield f"rank correlation (Spearman): {'; '.join(agreements)}"
