"""How a run over number formats is shown: tables, the bit map and the report name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex

from bitfront.search.reports.front_table import front_document
from bitfront.search.reports.interactive.document import run_document
from bitfront.search.reports.interactive.page import report_page
from bitfront.search.reports.latency_table import print_table
from bitfront.search.reports.plots.bit_map import collect_bit_map, draw_bit_map
from bitfront.search.reports.plots.layout import Heading
from bitfront.search.reports.plots.run_plots import run_figures
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import KINDS


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


def test_latency_tables_group_formats_that_take_as_long(capsys: pytest.CaptureFixture[str]) -> None:
    def entry(triple: tuple[int | str, ...], milliseconds: float) -> dict[str, Any]:
        named = dict(zip(KINDS, triple, strict=True))
        return {"shape": "s", "count": 2, **named, "milliseconds": milliseconds, "spread_percent": 1.0}

    same = [entry((weights, 8, 8), 1.0) for weights in ("bf16", "int8a", 8, 4)]
    apart = [entry(triple, 2.0) for triple in (("bf16", "bf16", 8), (4, 8, "bf16"))]
    whole = {"milliseconds": 3.0, "spread_percent": 1.0}
    check = {"name": "W8A8T8", "sum_ms": 1.0, "measured_ms": 1.0, "error_percent": 0.0, "spread_percent": 1.0}
    document = {
        "model": "m",
        "scheme": "deploy",
        "latency_source": "measured:torch",
        "machine": "here",
        "batch": 1,
        "threads": 1,
        "encoders": same + apart,
        "rest": whole,
        "float_model": whole,
        "checks": [check],
    }
    print_table(document, Path("table.csv"))
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["encoder", "s", "W4,8,8a,bf16", "A8", "T8", "2", "1", "1.0", "%"] in words
    assert ["encoder", "s", "W4A8Tbf16", "Wbf16Abf16T8", "2", "2", "1.0", "%"] in words
