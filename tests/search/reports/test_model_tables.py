"""The papers' tables of comparisons, one or several, in every form."""

from __future__ import annotations

import csv
import io

import pytest
from model_comparison import figures, search

from bitfront.search.reports.model_tables import formatted, print_tables, sections
from bitfront.search.reports.published import published
from bitfront.search.reports.tables import Table


def tables(*documents: dict) -> dict[str, list[list[str]]]:
    return {heading: [list(row.cells) for row in table.rows] for heading, table in sections(documents)}


def test_assignments_stand_in_the_order_of_the_paper() -> None:
    rows = tables(figures())["top-1, time and size"]
    assert [row[1] for row in rows] == [
        "float", "W8A8T8", "stochastic, 2 draws", "stochastic, the best", "stochastic, the worst", "search",
    ]  # fmt: skip
    assert [row[2] for row in rows] == ["72.00", "71.80", "71.00 ± 0.71", "71.50", "70.50", "71.00"]
    assert [row[3] for row in rows] == ["+0.20 ± 0.10", "", "-0.80 ± 0.20", "", "", "-0.80 ± 0.30"]
    assert {tuple(row[-2:]) for row in rows} == {("2.500", "1.500")}
    assert [row[0] for row in rows] == ["deit_tiny_patch16_224", *[""] * 5]


def test_random_weights_are_named_in_the_table_itself() -> None:
    assert tables(figures(random_weights=True))["top-1, time and size"][0][1] == "float, random weights"


def test_a_time_is_labelled_as_modelled_or_measured() -> None:
    def heading(*sources: str) -> str:
        found = [figures(latency_source=source, comparison=source) for source in sources]
        return str(next(sections(found)).table.headings[5])

    assert heading("model:bops") == heading("model:bops", "table of model:bops") == "ms (modelled)"
    assert heading("measured:torch") == "ms (measured)"
    assert heading("measured:torch", "model:bops") == "ms"
    mixed = tables(figures(), figures(latency_source="measured:torch", comparison="other"))
    times = [row[5] for row in mixed["top-1, time and size"]]
    assert (times[0], times[-1]) == ("2.500 modelled", "2.500 measured")


def test_generations_have_a_dash_where_nothing_was_found_or_searched() -> None:
    heading = "top-1 after generations, at no more than the searched assignment's size and time"
    short = figures(comparison="short", searches=[{**search(), "generations": search()["generations"][:1]}])
    found = dict(
        zip(
            ["2", "20"],
            zip(*(row[2:] for row in tables(figures(), short)[heading]), strict=True),
            strict=True,
        )
    )
    assert found["2"] == ("—", "—", "64", "0.500") * 2
    assert found["20"] == ("71.00", "72.00", "640", "1.000", "—", "—", "—", "—")


def test_several_seeds_have_their_mean_and_spread() -> None:
    both = figures(searches=[search(71.0, 0), search(73.0, 1)], seeds=2)
    found = tables(both)
    assert found["top-1, time and size"][-1][1:3] == ["search, 2 seeds", "72.00 ± 1.41"]
    heading = next(name for name in found if "generations" in name)
    assert found[heading][0][-1] == "72.00 ± 1.41"
    assert found[heading][2][-1] == "640"
    assert {
        "bits of every encoder: deit_tiny_patch16_224, seed 0",
        "bits of every encoder: deit_tiny_patch16_224, seed 1",
    } <= set(found)


def test_bits_of_every_encoder() -> None:
    assert tables(figures())["bits of every encoder: deit_tiny_patch16_224"] == [
        ["blocks.0", "4", "8", "8"], ["blocks.1", "8", "4", "8"],
    ]  # fmt: skip


def test_published_figures_stand_in_a_table_of_their_own_or_not_at_all() -> None:
    heading = f"top-1, %, beside that of {published().where}"
    assert heading not in tables(figures())
    assert heading not in tables(figures(imagenet_validation=True, random_weights=True))
    theirs, ours = tables(figures(), figures(imagenet_validation=True))[heading]
    assert theirs[1:] == ["published (DeiT-T)", "70.04", "68.73", "68.87", "65.01", "67.83", "68.87", "69.00"]
    assert ours[1:] == ["ours, 472 images", "71.80", "71.00 ± 0.71", "71.00", "—", "—", "—", "71.00"]


def test_what_is_not_evaluated_yet_is_a_dash() -> None:
    begun = figures(
        searches=[], differences={}, eight_bit={**figures()["eight_bit"], "test": None}, interrupted=True
    )
    (heading,) = tables(begun)
    assert [row[1:5] for row in tables(begun)[heading]] == [
        ["float", "72.00", "—", "70.00"], ["W8A8T8", "—", "", "70.00"],
    ]  # fmt: skip
    untested = figures(searches=[search(None, draws=(None, None))], differences={})
    assert [row[2] for row in tables(untested)[heading]] == ["72.00", "71.80", "—", "—"]
    for form in ("csv", "markdown", "latex"):
        assert formatted([begun, untested], form)


def test_csv_has_a_row_for_every_configuration() -> None:
    rows = list(csv.DictReader(io.StringIO(formatted([figures(), figures(imagenet_validation=True)], "csv"))))
    ours = [row for row in rows if row["comparison"] == "compared"]
    assert [row["assignment"] for row in ours[:9]] == [
        "float", "W8A8T8", "stochastic", "stochastic", "search", "search", "search", "stochastic, mean",
        "search, mean",
    ]  # fmt: skip
    assert [row["generations"] for row in ours[4:7]] == ["2", "20", ""]
    assert (ours[4]["test"], ours[4]["evaluations"], ours[6]["weights"]) == ("", "64", "4 8")
    assert float(ours[8]["against_stochastic_standard_error"]) == 0.4
    assert {row["data"] for row in ours} == {"photographs/labels.csv"}
    theirs = [row for row in rows if row["comparison"] == published().where]
    assert [float(row["test"]) for row in theirs] == [70.036, 68.733, 68.866, 65.008, 67.834, 68.866, 69.002]


HOSTILE = "a&b_c%d#e$f{g}h~i^j\\k|l<script>*m*`n`[o](p)"


def test_hostile_names_are_text_in_every_form() -> None:
    found = [figures(model=HOSTILE, data=HOSTILE, encoders=[HOSTILE, "x\ny"], notes=[HOSTILE])]
    latex = formatted(found, "latex")
    assert HOSTILE not in latex
    signs = r"h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k$|$l$<$script$>$*m*`n`[o](p)"
    escaped = r"a\&b\_c\%d\#e\$f\{g\}" + signs
    assert latex.count(escaped) >= 5
    markdown = formatted(found, "markdown")
    assert HOSTILE not in markdown
    assert r"a\&b_c%d#e\$f{g}h\~i^j\\k\|l\<script>\*m\*\`n\`\[o\](p)" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert all(line.replace(r"\|", "").count("|") in (5, 5, 8) for line in lines)
    rows = list(csv.DictReader(io.StringIO(formatted(found, "csv"))))
    assert {row["model"] for row in rows} == {HOSTILE}


def test_latex_has_environments_in_pairs_and_rows_of_equal_length() -> None:
    latex = formatted([figures(imagenet_validation=True)], "latex")
    for name in ("table", "tabular", "itemize"):
        assert latex.count(rf"\begin{{{name}}}") == latex.count(rf"\end{{{name}}}") > 0
    assert latex.isascii()
    for part in latex.split(r"\begin{tabular}{")[1:]:
        columns, body = part.split("}", 1)
        rows = [line for line in body.split(r"\end{tabular}")[0].splitlines() if line.endswith(r"\\")]
        assert {line.count(" & ") for line in rows} == {len(columns) - 1}


def test_a_terminal_shows_findings_first(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    print_tables([figures()], [tmp_path])
    lines = capsys.readouterr().out.splitlines()
    assert "is as good as the search, within two standard errors" in lines[0]
    assert lines[-1] == str(tmp_path)
    assert "not comparable digit by digit" in "\n".join(lines)


def test_a_table_ends_its_sections_by_a_rule_in_latex() -> None:
    table = Table(("a", "b"))
    table.add("1", "2", ends_section=True)
    table.add("3", "4", ends_section=True)
    assert table.latex().splitlines() == [
        r"\begin{tabular}{lr}", r"\hline", r"a & b \\", r"\hline", r"1 & 2 \\", r"\hline", r"3 & 4 \\",
        r"\hline", r"\end{tabular}",
    ]  # fmt: skip
