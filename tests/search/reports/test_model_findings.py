"""What comparisons come to: said in the first lines, whoever is better."""

from __future__ import annotations

import pytest
from model_comparison import figures, search

from bitfront.search.reports.model_findings import data_name, findings, labels, notes


def told(value: float, error: float, **changes: object) -> str:
    return findings(
        [figures(differences={"search_to_stochastic": {"value": value, "error": error}}, **changes)]
    )[0]


@pytest.mark.parametrize("value", [0.79, 0.0, -0.8])
def test_a_stochastic_baseline_within_two_errors_is_as_good(value: float) -> None:
    assert told(value, 0.4) == (
        "deit_tiny_patch16_224: the stochastic baseline (mean of 2 draws) is as good as the search, within "
        f"two standard errors: search less stochastic {value:+.2f} ± 0.40 points; 1 of 2 draws is as good or "
        "better"
    )


def test_beyond_two_errors_one_is_better() -> None:
    assert "the search is better than the stochastic baseline (mean of 2 draws): search less" in told(
        0.81, 0.4
    )
    assert "the search is worse than the stochastic baseline" in told(-0.81, 0.4)


def test_equal_images_are_no_difference() -> None:
    assert "is as good as the search" in told(0.0, 0.0)


def test_draws_of_several_searches_are_compared_with_their_own() -> None:
    searches = [search(71.0, 0, (70.0, 72.0)), search(73.0, 1, (72.5, None))]
    assert told(0.0, 0.4, searches=searches).endswith("1 of 3 draws is as good or better")


def test_a_dry_run_says_so_before_anything_else() -> None:
    lines = findings([figures(random_weights=True)])
    assert lines[0] == "deit_tiny_patch16_224: random weights: a dry run, accuracies mean nothing"
    assert len(lines) == 3


def test_uniform_8_bit_is_told_apart_as_well() -> None:
    assert findings([figures()])[1] == (
        "deit_tiny_patch16_224: the search is worse than uniform 8 bit: search less 8 bit -0.80 ± 0.30 points"
    )


def test_nothing_is_claimed_before_anything_is_evaluated() -> None:
    assert findings([figures(differences={}, searches=[])]) == []


def test_equal_models_are_told_apart_by_the_names_of_their_comparisons() -> None:
    assert labels([figures(comparison="one"), figures(comparison="two"), figures(model="other")]) == [
        "deit_tiny_patch16_224 (one)", "deit_tiny_patch16_224 (two)", "other",
    ]  # fmt: skip


def test_notes_name_data_settings_and_what_is_missing() -> None:
    lines = notes([figures(interrupted=True, draws=5, notes=["attention is kept at 8 bits"])])
    text = "\n".join(lines)
    assert "128 calibration, 400 search and 472 test images of photographs/labels.csv" in text
    assert "nsga2, 20 generations of 32, 1 seed; pick knee; time is modelled (model:bops), batch 1" in text
    assert "2 of 5 draws: no more permutations within 1 % of the size were found" in text
    assert "not finished: — where nothing was evaluated yet" in text
    assert "— after generations: nothing of that size and time or less was found yet" in text
    assert "attention is kept at 8 bits" in text
    assert "time is measured (table:/t.csv)" in "\n".join(notes([figures(latency_source="table:/t.csv")]))
    assert data_name(figures(data="digits")) == "digits"
