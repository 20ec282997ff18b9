"""How a run over number formats is shown: tables, the bit map and the report name them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.colors import to_hex

from bitfront.search.reports.front_table import front_document
from bitfront.search.reports.interactive.document import run_document
from bitfront.search.reports.interactive.page import report_page
from bitfront.search.reports.plots.bit_map import collect_bit_map, draw_bit_map
from bitfront.search.reports.plots.layout import Heading
from bitfront.search.reports.plots.run_plots import run_figures
from bitfront.search.runs.reader import RecordedRun


@pytest.fixture(scope="module")
def run(formats_runs: Path) -> RecordedRun:
    return RecordedRun.read(formats_runs, "mixed")


def test_the_front_as_json_has_widths_and_names(run: RecordedRun) -> None:
    document = json.loads(json.dumps(front_document(run), default=list))
    front = {int(row["trial"]): row for row in run.front.to_dict("records")}
    for point in document["front"]:
        assert point["bits"] == {gene.name: front[point["trial"]][gene.name] for gene in run.genes}


def test_the_bit_map_names_formats_narrow_to_wide(run: RecordedRun) -> None:
    info = collect_bit_map(run, everything=True)
    assert info.formats == (4, 8, "int8a", "bf16")
    assert [group.title for group in info.groups] == ["weights", "activations"]
    point = run.front.set_index("trial").loc[info.rows[0].trial]
    genes = sorted(run.genes, key=lambda gene: (gene.kind != "weights", gene.encoder))
    assert [info.formats[level] for level in info.levels[0]] == [point[gene.name] for gene in genes]
    figure = draw_bit_map(info, Heading("Chosen bits", ""))
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("4 bits", "8 bits", "8 bits, zero points", "bfloat16")
    ]
    colours = [to_hex(patch.get_facecolor()) for patch in legend.get_patches()]
    assert len(set(colours)) == 4


def test_all_pictures_are_drawn(run: RecordedRun) -> None:
    assert set(run_figures(run)) >= {"front", "bit_map", "hypervolume"}


def test_the_report_has_formats_as_digits(run: RecordedRun) -> None:
    document = run_document(run)
    assert document.widths == [4, 8, "int8a", "bf16"]
    assert document.width_labels == ["4", "8", "8a", "bf16"]
    assert document.width_titles == ["4 bits", "8 bits", "8 bits, zero points", "bfloat16"]
    for digits, row in zip(document.genes, run.trials.to_dict("records"), strict=True):
        found = [document.widths[int(digit, 36)] for digit in digits]
        assert found == [row[name] for name in document.gene_names]
    facts = dict(document.facts)
    assert facts["space"] == (
        "encoder-kind, 8 genes of weights 4, int8a, bf16; activations 8, bf16; attention 8"
    )
    assert "8 bits, zero points" in report_page([run])
