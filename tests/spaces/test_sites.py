"""Sites grouped by encoder, and precision triples."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from bitfront.spaces import EncoderLayers, QuantSite, encoder_layers, triples


def weight(encoder: int | None, layer: str, pinned: bool = False) -> QuantSite:
    return QuantSite(f"{encoder}.{layer}.weight", "weights", encoder, layer, pinned, 12, 3, 12)


def test_layers_are_the_searchable_weights_in_order() -> None:
    sites = [
        weight(None, "embedding", pinned=True),
        QuantSite("blocks.0.norm1", "activations", 0, "attn.qkv", False, 5),
        weight(0, "attn.qkv"),
        QuantSite("blocks.0.attn.softmax", "attention", 0, "attn", False, 5),
        weight(0, "mlp.fc1"),
        weight(1, "attn.qkv"),
        weight(1, "extra", pinned=True),
        weight(None, "head", pinned=True),
    ]
    assert encoder_layers(sites, ["blocks.0", "blocks.1"]) == (
        EncoderLayers(0, "blocks.0", ("attn.qkv", "mlp.fc1")),
        EncoderLayers(1, "blocks.1", ("attn.qkv",)),
    )


@pytest.mark.parametrize("widths", [(4, 8), (8, 4, 4), (2, 4, 8)])
def test_triples_are_all_combinations_widest_first(widths: tuple[int, ...]) -> None:
    found = triples(widths)
    assert set(found) == set(itertools.product(widths, repeat=3))
    assert len(found) == len(set(widths)) ** 3
    assert found == sorted(found, reverse=True)


def test_sites_are_values() -> None:
    assert weight(0, "attn.qkv") == weight(0, "attn.qkv")
    with pytest.raises(dataclasses.FrozenInstanceError):
        weight(0, "attn.qkv").pinned = True  # type: ignore[misc]
