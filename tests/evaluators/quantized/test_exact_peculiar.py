"""Encoders and readouts of every peculiarity against the reference: stage by stage, and as whole networks."""

from __future__ import annotations

import functools

import pytest
from peculiar_cases import INTEGER, PECULIAR, QUICKLY, peculiar_case
from quantized_cases import Bits
from quantized_comparison import Comparison, Deviations
from quantized_taps import ROUNDING, Tapped, check_stages

from bitfront.evaluators.models.sites import role, trace_sites
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.quantized.fq_vit import check_integer
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import SCHEMES, UserError

# Sites whose codes are the same for every image, and pass no tap.
CONSTANT = ("pos_embed", "bias")
ASSIGNMENTS: tuple[Bits, ...] = ((8, 8, 8), (4, 8, 8), "mixed 1")
# Kinds whose deviations are pooled, and models of different seeds of each: flips of ties are few and large.
FAMILIES: dict[str, tuple[tuple[str, ...], int]] = {
    "vit": (("clip", "siglip", "dinov2", "gate last", "inner norms", "aimv2", "res-post-norm", "massive"), 1),
    "eva": (("eva02", "eva clip", "eva post-norm", "dinov3", "rope mixed", "perception", "narrow heads"), 1),
    "swin v2": (("swin v2",), 3),
    "swin padded": (("swin padded",), 3),
    "biases": (("beit", "beit shared", "beit3", "relative", "relative mlp", "relative shared"), 1),
}


@functools.cache
def comparison(
    name: str, scheme: str, kernels: str = "cpu", seed: int = 0, recipe: str = "best"
) -> Comparison:
    return Comparison(peculiar_case(name, 24, seed), scheme, kernels, recipe=recipe)


@pytest.mark.parametrize("bits", ASSIGNMENTS, ids=str)
@pytest.mark.parametrize("name", QUICKLY)
def test_every_stage_agrees_on_equal_inputs(name: str, bits: Bits) -> None:
    check_stages(comparison(name, "deploy"), bits)


@pytest.mark.parametrize("name", INTEGER)
def test_so_it_does_in_integers_throughout(name: str) -> None:
    check_stages(comparison(name, "fq-vit"), "mixed 1")


@pytest.mark.parametrize("name", ["gate last", "inner norms", "dinov3", "swin v2", "swin padded"])
def test_so_it_does_with_other_kernels(name: str) -> None:
    check_stages(comparison(name, "deploy", "portable"), "mixed 1")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_site_is_let_through_under_its_name(scheme: str) -> None:
    for name in PECULIAR if scheme == "deploy" else INTEGER:
        compared = comparison(name, scheme)
        seen: set[str] = set()
        compared.models((8, 8, 8))[0](compared.case.images[:2], tap=lambda site, _, seen=seen: seen.add(site))
        sites = (site.name for site in trace_sites(compared.case.blueprint, scheme) if site.kind != "weights")
        assert {site for site in sites if role(site) not in CONSTANT} <= seen, name


@pytest.mark.parametrize("name", ["clip", "siglip", "aimv2", "perception", "beit", "swin v2"])
def test_embedding_and_readout_agree_on_equal_inputs(name: str) -> None:
    tapped = Tapped(comparison(name, "deploy"), (8, 8, 8))
    reference, parts = tapped.reference, tapped.reference.blueprint
    first = "embed" if parts.embed_norm is None else "embed_sum"
    tokens = reference.tokens(tapped["image"])
    if parts.positions is None:
        assert tapped.agrees(first, tokens)
    else:
        assert tapped.agrees("patch_embed", tokens)
        assert tapped.agrees(first, reference.placed(tapped["patch_embed"]))
    if parts.embed_norm is not None:
        assert tapped.agrees("embed", reference.embed_norm(tapped[first]))
    if parts.readout.pool is None:
        assert tapped.agrees("norm", reference.read(tapped[f"{parts.encoders[-1].name}.residual2"]))
    else:
        assert tapped.agrees("pooled", reference.pooled(tapped["norm"]))
    logits, wanted = tapped.logits, reference.classify(tapped[parts.readout.read_site])
    assert float((logits - wanted).abs().max()) <= ROUNDING * float(wanted.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_networks_deviate_no_more_than_float_fake_quantization(family: str) -> None:
    """The mean deviation from float64 is at most twice that of float32 fake quantization, at 3 sigma."""
    names, seeds = FAMILIES[family]
    compared = [comparison(name, "deploy", seed=seed) for name in names for seed in range(seeds)]
    found = Deviations.pooled(
        c.deviations(bits).as_one_sample(c.spread()) for c in compared for bits in ASSIGNMENTS
    )
    # In standard deviations of the logits between images.
    assert 0 < found.noise.mean() < 0.01
    assert found.evaluator.mean() < 0.01
    assert found.excess < 3


def test_every_kind_is_in_a_family() -> None:
    assert sorted(name for names, _ in FAMILIES.values() for name in names) == sorted(PECULIAR)


def test_an_integer_scheme_refuses_what_it_has_no_arithmetic_for() -> None:
    named = {
        "clip": "activation quick_gelu",
        "siglip": "activation gelu_tanh, attention pooling",
        "gate last": "normalised queries and keys, a gated MLP",
        "inner norms": "a norm of the attention's output, a norm within the MLP, activation relu",
        "aimv2": "RMSNorm, a gated MLP, a norm of the patches",
        "res-post-norm": "norms behind the branches",
        "dinov3": "rotary positions",
        "swin v2": "norms behind the branches, normalised queries and keys, ",
        "swin padded": "windows that need padding, patch mergings that need padding",
    }
    for name in PECULIAR:
        blueprint = peculiar_case(name, 1).blueprint
        if name in INTEGER:
            check_integer(blueprint)
            continue
        with pytest.raises(UserError) as caught:
            check_integer(blueprint)
        message = str(caught.value)
        assert message.isprintable()
        assert message.startswith(
            f"scheme fq-vit is integer throughout and knows plain encoders alone, and {name} has "
        )
        assert message.endswith(": choose --scheme deploy")
        assert named.get(name, "") in message


def test_nor_can_a_model_be_prepared_for_it() -> None:
    compared = comparison("clip", "deploy")
    found: CalibratedModel = compared.calibrated
    with pytest.raises(UserError, match="choose --scheme deploy"):
        PreparedModel(found.blueprint, found.calibration, "fq-vit", (8,))


def test_no_peculiarity_is_left_out_by_the_cases() -> None:
    """What a model can have beside plain parts occurs in some case, so that all of it is compared."""
    found = [peculiar_case(name, 1).blueprint for name in PECULIAR]
    encoders = [encoder for blueprint in found for encoder in blueprint.encoders]
    assert {encoder.activation for encoder in encoders} == {"gelu", "gelu_tanh", "quick_gelu", "silu", "relu"}
    rotaries = [encoder.rotary for encoder in encoders if encoder.rotary is not None]
    assert {rotary.halves for rotary in rotaries} == {True, False}
    assert {rotary.frequencies is None for rotary in rotaries} == {True, False}
    assert any(blueprint.readout.pool is not None for blueprint in found)
    assert any(encoder.window is not None and len(encoder.window.rows) == 1 for encoder in encoders)
    assert any(encoder.learned_scales for encoder in encoders)
    assert any(encoder.gated and encoder.hidden_norm is not None for encoder in encoders)
    scaled = comparison("massive", "deploy").calibrated.blueprint.encoders
    assert [encoder.hidden_scales is None for encoder in scaled] == [True, False]
    assert any(encoder.channels != encoder.heads * encoder.head_dim for encoder in encoders)
