"""``bitfront profile``: costs by site, the recipe and the grids that the preparation chose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.packed.tensors import packed_bytes
from bitfront.evaluators.preparation.recipes import RECIPES
from bitfront.evaluators.sensitivity.gene_scores import GeneScores, gene_scores
from bitfront.evaluators.sensitivity.one_flip import OneFlip, one_flips
from bitfront.evaluators.sensitivity.spectral import SpectralScores, spectral_scores
from bitfront.search.reports.plots.sensitivity import draw_sensitivities
from bitfront.search.reports.profile import print_profile
from bitfront.search.reports.profile_document import profile_document, sensitivity_document
from bitfront.spaces import BitConfig, SearchSpace

SETTINGS: dict[str, Any] = {
    "calibration_images": 24,
    "search_images": 48,
    "widths": (4, 8),
    "batch_size": 48,
    "threads": 1,
}
WITHOUT = ("gelu-levels",)
# Of a model that is prepared at once.
SMALL = ("--model", "digits_deit", "--scheme", "fq-vit", "--recipe", "fq-vit", "--calibration-images", "16")


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    return EvaluationContext.from_spec(EvaluationSpec(model="digits_deit", scheme="fq-vit", **SETTINGS))


@pytest.fixture(scope="module")
def document(context: EvaluationContext) -> dict[str, Any]:
    return profile_document(context)


@pytest.fixture(scope="module")
def deployed() -> EvaluationContext:
    return EvaluationContext.from_spec(
        EvaluationSpec(model="digits_deit", scheme="deploy", without=WITHOUT, **SETTINGS)
    )


def site(document: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [site for site in document["sites"] if site["name"] == name]
    return dict(found)


def printed(document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_profile(document)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_parameters_and_macs_are_those_of_the_architecture(
    context: EvaluationContext, document: dict[str, Any]
) -> None:
    blueprint = context.prepared.blueprint
    tokens, channels, hidden = blueprint.tokens, blueprint.channels, len(blueprint.encoders[0].fc1.bias)
    linear = 4 * channels * channels + 2 * channels * hidden
    attention = 2 * tokens * tokens * channels
    outer = blueprint.patches * blueprint.patch.weight.numel() + sum(
        head.weight.numel() for head in blueprint.readout.heads
    )
    assert document["macs"] == 12 * (tokens * linear + attention) + outer
    assert document["parameters"] == sum(p.numel() for p in context.model.module.parameters())
    assert document["encoders"] == [f"blocks.{index}" for index in range(12)]


def test_sizes_are_those_of_the_size_model(context: EvaluationContext, document: dict[str, Any]) -> None:
    for bits in (4, 8):
        config = BitConfig.uniform("digits_deit", "fq-vit", context.encoders, (bits, bits, bits))
        assert document["uniform_size_bytes"][str(bits)] == context.size.size_bytes(config)
    weights = site(document, "blocks.3.mlp.fc1.weight")
    assert weights["packed_bytes"] == {str(b): packed_bytes(weights["elements"], b) for b in (4, 8)}
    assert weights["grids"] is None
    assert set(site(document, "patch_embed.weight")["packed_bytes"]) == {"8"}


def test_every_site_is_there_once(context: EvaluationContext, document: dict[str, Any]) -> None:
    assert [found["name"] for found in document["sites"]] == [found.name for found in context.sites]


def test_ranges_are_those_of_the_grids(context: EvaluationContext, document: dict[str, Any]) -> None:
    for name, bits in (("blocks.5.norm1", 8), ("blocks.0.attn.qkv", 8), ("image", 8)):
        grid, found = context.prepared.calibration.grid(name, bits), site(document, name)["grids"][str(bits)]
        assert found["low"] == pytest.approx(-grid.zero_point * grid.scale)
        assert found["high"] - found["low"] == pytest.approx(grid.qmax * grid.scale)
        assert (found["scale"], found["zero_point"]) == (grid.scale, grid.zero_point)
    stream = context.prepared.calibration.stream("blocks.2.residual1")
    found = site(document, "blocks.2.residual1")["grids"]["8"]
    assert found["exponents"] == stream.exponents.tolist()
    assert found["high"] - found["low"] == pytest.approx(stream.qmax * stream.channel_scales.max())


def test_levels_of_gelu_outputs_are_listed_where_they_are_taken(
    document: dict[str, Any], deployed: EvaluationContext
) -> None:
    grids = site(document, "blocks.7.mlp.gelu")["grids"]
    levels = grids["4"]["levels"]
    assert len(levels) <= 16
    assert levels == sorted(set(levels))
    assert (levels[0], levels[-1]) == (grids["4"]["low"], grids["4"]["high"])
    assert "levels" not in grids["8"]
    assert "levels" not in site(profile_document(deployed), "blocks.7.mlp.gelu")["grids"]["4"]


def test_narrow_attention_has_a_base_and_wide_attention_a_grid(
    context: EvaluationContext, document: dict[str, Any]
) -> None:
    grids = site(document, "blocks.4.attn.softmax")["grids"]
    assert grids["4"] == {"log2_base": context.prepared.log_steps[4]}
    assert grids["8"]["low"] == 0.0
    assert grids["8"]["high"] > 0.0


def test_recipe_says_what_is_used_and_what_is_left_out(deployed: EvaluationContext) -> None:
    document = profile_document(deployed)
    states = {entry["name"]: entry["state"] for entry in document["ingredients"]}
    assert {name for name, state in states.items() if state == "left out"} == set(WITHOUT)
    assert {name for name, state in states.items() if state == "used"} == set(
        RECIPES["best"].ingredients
    ) - set(WITHOUT)
    assert all(entry["description"] for entry in document["ingredients"])


def test_text_names_the_model_its_recipe_and_what_belongs_to_which_bits(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(document, capsys)
    assert lines[0] == "digits_deit (fq-vit, recipe best), prepared on 24 images"
    assert f"{document['parameters']:,} parameters" in lines[1]
    assert "queries, keys and values are activations; the softmax output is the attention" in lines
    assert any(line.startswith("log-base") and "used" in line for line in lines)
    assert sum(line.startswith("scheme fq-vit: ") for line in lines) == 1


def test_equal_encoders_share_rows(document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    [row] = [line for line in printed(document, capsys) if line.startswith("blocks.0-11, each")]
    weights = [site for site in document["sites"] if site["kind"] == "weights" and site["encoder"] == 0]
    elements = sum(site["elements"] for site in weights)
    assert row.split()[2:6] == ["weights", f"{elements:,}", f"{elements / 2e3:.1f}", f"{elements / 1e3:.1f}"]


def test_other_encoders_have_rows_of_their_own(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sites = [
        {**site, "elements": 2 * site["elements"]} if site["encoder"] == 11 else site
        for site in document["sites"]
    ]
    rows = [line.split()[:3] for line in printed({**document, "sites": sites}, capsys)]
    assert ["blocks.0-10,", "each", "weights"] in rows
    assert any(row[:2] == ["blocks.11", "weights"] for row in rows)


def test_ranges_table_has_a_row_for_each_encoder_at_the_narrowest_width(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(document, capsys)
    start = next(index for index, line in enumerate(lines) if line.startswith("4-bit ranges"))
    assert lines[start].split()[2:] == ["norm1", "qkv", "context", "norm2", "gelu", "base"]
    for index in range(12):
        cells = lines[start + 1 + index].split()
        assert cells[0] == f"blocks.{index}"
        low, high = map(float, cells[1].split(".."))
        grid = site(document, f"blocks.{index}.norm1")["grids"]["4"]
        assert (low, high) == pytest.approx((grid["low"], grid["high"]), rel=0.05)
        base = 2 ** site(document, f"blocks.{index}.attn.softmax")["grids"]["4"]["log2_base"]
        assert float(cells[-1]) == pytest.approx(base, abs=1e-3)


def test_widths_without_logarithmic_attention_have_no_base(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sites = [{**found, "grids": found["grids"] and {"8": found["grids"]["8"]}} for found in document["sites"]]
    lines = printed({**document, "widths": [8], "sites": sites}, capsys)
    assert any(line.startswith("8-bit ranges") and line.endswith("gelu") for line in lines)


def test_command_prints_json_and_hints_with_the_written_options(bitfront: Callable) -> None:
    unasked = ("--sensitivities", "none")
    outcome = bitfront("profile", *SMALL, *unasked, "--bits", "6,8", "--json")
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["widths"] == [6, 8]
    assert {entry["state"] for entry in found["ingredients"]} == {"not in it"}
    assert found["calibration_images"] == 16
    assert "sensitivities" not in found
    outcome = bitfront("profile", *SMALL, *unasked, "--observer", "ema", "--bits", "6,8")
    assert outcome.out.startswith("digits_deit (fq-vit, recipe fq-vit, observer ema), prepared on 16 images")
    assert "activation ranges are those of observer ema, whatever the recipe says" in outcome.out
    given = "--model digits_deit --scheme fq-vit --calibration-images 16 --recipe fq-vit --observer ema"
    assert f"next: bitfront evaluate {given} --uniform W6A6T6\n" in outcome.err
    assert f"bitfront search {given} --bits 6,8\n" in outcome.err


@pytest.mark.parametrize(("option", "value"), [("--bits", "4,x"), ("--data", "nowhere"), ("--device", "gpu")])
def test_mistakes_are_one_line(bitfront: Callable, option: str, value: str) -> None:
    outcome = bitfront("profile", "--model", "digits_deit", option, value)
    assert outcome.status == 2
    assert value.removeprefix("4,") in outcome.error


@pytest.fixture(scope="module")
def space(context: EvaluationContext) -> SearchSpace:
    """Of twelve genes."""
    return SearchSpace("digits_deit", "fq-vit", context.encoders, (4, 8), "encoder")


@pytest.fixture(scope="module")
def flips(context: EvaluationContext, space: SearchSpace) -> tuple[OneFlip, ...]:
    return one_flips(context, space)


@pytest.fixture(scope="module")
def scores(context: EvaluationContext, space: SearchSpace) -> GeneScores:
    return gene_scores(context, space)


@pytest.fixture(scope="module")
def sensitivities(
    context: EvaluationContext, space: SearchSpace, flips: tuple[OneFlip, ...], scores: GeneScores
) -> dict[str, Any]:
    return sensitivity_document(context, space, flips, scores)


def test_every_gene_is_measured_estimated_and_ranked(
    context: EvaluationContext, sensitivities: dict[str, Any]
) -> None:
    genes = sensitivities["genes"]
    assert [gene["gene"] for gene in genes] == [f"encoder{index:02d}" for index in range(12)]
    whole = context.size.size_bytes(BitConfig.uniform("digits_deit", "fq-vit", context.encoders, (8, 8, 8)))
    narrow = context.size.size_bytes(BitConfig.uniform("digits_deit", "fq-vit", context.encoders, (4, 4, 4)))
    assert sum(gene["bytes_saved"] for gene in genes) == pytest.approx(whole - narrow, rel=0.05)
    for name, key in (("kl", "divergence"), ("gradient", "gradient"), ("loss", "loss_change")):
        ranked = sorted(genes, key=lambda gene: gene["ranks"][name])
        values = [gene[key] for gene in ranked]
        assert values == sorted(values, reverse=True)
    worst = min(genes, key=lambda gene: gene["ranks"]["top1"])
    assert worst["top1_change"] == min(gene["top1_change"] for gene in genes)
    ranks = [[gene["ranks"][name] for gene in genes] for name in ("kl", "gradient")]
    correlation = sensitivities["rank_correlations"]["kl/gradient"]
    assert correlation == pytest.approx(float(spearmanr(*ranks)[0]))


def test_the_table_has_a_row_for_each_gene_and_names_the_agreement(
    document: dict[str, Any], sensitivities: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed({**document, "sensitivities": sensitivities}, capsys)
    start = next(index for index, line in enumerate(lines) if line.startswith("4 instead of 8 bits"))
    for index, gene in enumerate(sensitivities["genes"]):
        cells = lines[start + 1 + index].split()
        assert cells[0] == gene["gene"]
        assert float(cells[1]) == pytest.approx(gene["bytes_saved"] / 1e3, abs=0.06)
        assert float(cells[-2]) == pytest.approx(1e3 * gene["gradient"], abs=0.006)
        assert float(cells[-1]) == gene["ranks"]["gradient"]
    correlation = sensitivities["rank_correlations"]["kl/gradient"]
    (row,) = [line.split() for line in lines if line.split()[:3] == ["KL", "gradient", "score"]]
    assert float(row[3]) == pytest.approx(correlation, abs=0.006)
    agreement = sensitivities["rank_agreement"]["kl/gradient"]["spearman"]
    assert agreement["value"] == pytest.approx(correlation)
    assert agreement["low"] < correlation < agreement["high"]
    assert sensitivities["rank_agreement_by_kind"] == {}


def test_estimates_alone_have_no_measurements_beside_them(
    context: EvaluationContext, document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = SearchSpace("digits_deit", "fq-vit", context.encoders, (4, 8), "layer")
    found = sensitivity_document(context, space, None, gene_scores(context, space))
    assert len(found["genes"]) == 108
    assert set(found["genes"][0]["ranks"]) == {"gradient"}
    lines = printed({**document, "sensitivities": found}, capsys)
    assert not any("Spearman" in line for line in lines)
    assert not any("millinats" in line and line.count("rank") > 1 for line in lines)
    assert is_picture(draw_sensitivities(found, tmp_path / "estimates.png", "digits_deit"))


def is_picture(path: Path) -> bool:
    with Image.open(path) as picture:
        colours = picture.convert("RGB").getcolors(1 << 20)
    return colours is not None and len(colours) > 10


@pytest.mark.parametrize("change", [{}, {"divergence": 0.0, "gradient": 0.0}])
def test_sensitivities_are_drawn_even_where_nothing_changes(
    sensitivities: dict[str, Any], tmp_path: Path, change: dict[str, float]
) -> None:
    genes = [{**gene, **change} for gene in sensitivities["genes"]]
    path = draw_sensitivities({**sensitivities, "genes": genes}, tmp_path / "s.png", "digits_deit")
    assert is_picture(path)


def test_command_finds_prints_and_draws(bitfront: Callable, tmp_path: Path) -> None:
    small = (*SMALL, "--search-images", "16", "--threads", "1")
    path = tmp_path / "picture.png"
    outcome = bitfront("profile", *small, "--space", "encoder", "--plot", path)
    assert outcome.status == 0, outcome.err
    assert "one-flip sensitivities, 13 evaluations of 16 images ... " in outcome.err
    assert "gradient scores of 12 genes, one pass ... " in outcome.err
    assert f"plot: {path}" in outcome.out.splitlines()
    assert "--space encoder" in outcome.err
    assert is_picture(path)
    again = bitfront("profile", *small, "--plot", path)
    assert again.status == 2
    assert f"error: {path} exists" in again.error
    outcome = bitfront("profile", *small, "--sensitivities", "gradient", "--plot", path, "--force", "--json")
    found = json.loads(outcome.out)
    assert len(found["sensitivities"]["genes"]) == 36
    assert found["plot"] == str(path)


def test_one_width_has_no_sensitivities(bitfront: Callable, tmp_path: Path) -> None:
    small = (*SMALL, "--bits", "8")
    outcome = bitfront("profile", *small, "--json")
    assert "sensitivities" not in json.loads(outcome.out)
    assert "at least two widths" in bitfront("profile", *small, "--sensitivities", "both").error
    refused = bitfront("profile", "--sensitivities", "none", "--plot", tmp_path / "p.png")
    assert refused.status == 2
    assert "--plot needs sensitivities" in refused.error


def test_spectral_sensitivities_stand_beside_the_others(
    context: EvaluationContext,
    document: dict[str, Any],
    space: SearchSpace,
    flips: tuple[OneFlip, ...],
    scores: GeneScores,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spectral = spectral_scores(context, space)
    alone = sensitivity_document(context, space, None, None, spectral)
    assert set(alone["genes"][0]["ranks"]) == {"spectral"}
    assert is_picture(draw_sensitivities(alone, tmp_path / "spectral.png", "digits_deit"))
    found = sensitivity_document(context, space, flips, scores, spectral)
    assert [gene["spectral"] for gene in found["genes"]] == spectral.values.tolist()
    lines = printed({**document, "sensitivities": found}, capsys)
    assert any(line.startswith("gradient score") and "spectral S" in line for line in lines)
    assert is_picture(draw_sensitivities(found, tmp_path / "all.png", "digits_deit"))


def test_kinds_of_genes_are_ranked_by_themselves(
    context: EvaluationContext, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = SearchSpace("digits_deit", "fq-vit", context.encoders, (4, 8), "encoder-kind")
    rising = np.arange(36.0)
    scores = GeneScores(kinds.gene_names, ((4, 8),) * 36, np.diag(rising))
    falling = SpectralScores(kinds.gene_names, -rising + 36.0)
    found = sensitivity_document(context, kinds, None, scores, falling)
    by_kind = found["rank_agreement_by_kind"]
    assert set(by_kind) == {"weights", "activations", "attention"}
    assert by_kind["weights"]["gradient/spectral"]["kendall"]["value"] == pytest.approx(-1.0)
    assert printed({**document, "sensitivities": found}, capsys)


def test_an_assignment_is_written_as_a_bit_config_that_is_evaluated(
    bitfront: Callable, tmp_path: Path
) -> None:
    file = tmp_path / "assigned.json"
    asked = ("--sensitivities", "none", "--assign", "0.5", "--space", "layer", "--output", str(file))
    outcome = bitfront("profile", *SMALL, *asked, "--search-images", "32")
    assert outcome.status == 0
    assert f"next: bitfront evaluate --config {file}" in outcome.err
    config = BitConfig.from_json(json.loads(file.read_text()))
    assert config.formats().every == (4, 8)
    assert config.digest in outcome.out
    assert bitfront("profile", *SMALL, *asked).error.startswith(f"error: {file} exists")
    assert "give --assign, too" in bitfront("profile", *SMALL, "--output", str(tmp_path / "x.json")).error
