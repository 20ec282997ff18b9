"""The evaluation context: reproducible, with disjoint splits, and clear about what it cannot do."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.float_forward import Tap, unseen
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.quantized.model import QuantizedEmbedding
from bitfront.spaces import BitConfig, BitfrontError, SearchSpace, Triple, UserError
from bitfront.spaces.config import collapse

SMALL = EvaluationSpec(
    model="digits_deit",
    scheme="fq-vit",
    calibration_images=16,
    search_images=40,
    test_images=24,
    batch_size=32,
    threads=1,
)


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    return EvaluationContext.from_spec(SMALL)


def uniform(context: EvaluationContext, bits: Triple) -> BitConfig:
    return BitConfig.uniform(context.spec.model, context.spec.scheme, context.encoders, bits)


class TestSpec:
    def test_json_round_trip(self) -> None:
        spec = dataclasses.replace(SMALL, widths=(3, 5), checkpoint="w.safetensors", seed=4)
        assert EvaluationSpec.from_json(spec.to_json()) == spec
        assert spec.canonical() == EvaluationSpec.from_json(spec.to_json()).canonical() != SMALL.canonical()

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"scheme": "w8"}, "unknown scheme 'w8': choose one of fq-vit, deploy"),
            ({"device": "tpu"}, "--device 'tpu' is unknown"),
            ({"observer": "max"}, "unknown observer 'max': choose one of auto, minmax, ema"),
            (
                {"recipe": "worst"},
                "unknown recipe 'worst': choose one of best, runtime, gptq, fq-vit, vq-vit",
            ),
            (
                {"without": ("salt",)},
                "unknown ingredient 'salt': choose from rotated-stream, norm-channels, ",
            ),
            ({"batch_size": 0}, "--batch-size 0 is too small: give 1 or more"),
            ({"threads": -1}, "--threads -1 is too small: give 1 or more"),
        ],
    )
    def test_settings_are_checked_before_anything_is_loaded(
        self, change: dict[str, object], match: str
    ) -> None:
        spec = dataclasses.replace(SMALL, model="no such model", data="no such data", **change)
        with pytest.raises(UserError, match=match) as caught:
            spec.check()
        with pytest.raises(UserError, match=match):
            EvaluationContext.from_spec(spec)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "change",
        [{}, {"observer": "omse"}, {"recipe": "gptq"}, {"without": ("log-base", "gelu-levels")}],
        ids=str,
    )
    def test_known_names_are_accepted(self, change: dict[str, object]) -> None:
        dataclasses.replace(SMALL, **change).check()

    def test_a_limit_of_the_cache_that_is_not_a_size_is_refused_early(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BITFRONT_CACHE_LIMIT", "plenty")
        with pytest.raises(UserError, match="BITFRONT_CACHE_LIMIT 'plenty' is not a size"):
            EvaluationContext.from_spec(dataclasses.replace(SMALL, model="no such model"))


class TestDigits:
    def test_the_float_model_is_good(self, digits_context: EvaluationContext) -> None:
        halves = [digits_context.float_quality(split) for split in ("search", "test")]
        assert [half.images for half in halves] == [359, 360]
        assert [(half["kl"], half["agreement"]) for half in halves] == [(0.0, 100.0)] * 2
        assert sum(half["top1"] * half.images for half in halves) / 719 >= 98.5

    @pytest.mark.parametrize(("bits", "agreement"), [((8, 8, 8), 98.0), ((8, 8, 4), 97.0), ((4, 8, 8), 96.0)])
    def test_quantized_models_follow_it(
        self, digits_context: EvaluationContext, bits: Triple, agreement: float
    ) -> None:
        found = digits_context.quality(uniform(digits_context, bits))
        assert found["agreement"] >= agreement
        assert 0.0 < found["kl"] < 0.1

    def test_the_encoders_make_a_space(self, digits_context: EvaluationContext) -> None:
        sizes = {"encoder": 12, "encoder-kind": 36, "layer": 108}
        for granularity, genes in sizes.items():
            space = SearchSpace("digits_deit", "fq-vit", digits_context.encoders, (4, 8), granularity)  # type: ignore[arg-type]
            assert len(space) == genes


class TestSplits:
    def test_they_are_disjoint_and_of_the_sizes_asked_for(self, context: EvaluationContext) -> None:
        parts = [context.splits.calibration, context.splits.search, context.splits.test]
        assert [len(part) for part in parts] == [16, 40, 24]
        assert len({int(index) for part in parts for index in part}) == 16 + 40 + 24

    def test_accuracy_is_that_of_the_split(self, context: EvaluationContext) -> None:
        config = uniform(context, (8, 8, 8))
        for split, images in (("search", 40), ("test", 24)):
            assert context.quality(config, split).images == images  # type: ignore[arg-type]
            labels = context.source.labels[getattr(context.splits, split)]
            assert context.images(split).labels.tolist() == labels.tolist()  # type: ignore[arg-type]


class TestReproducibility:
    def test_asking_again_gives_the_same(self, context: EvaluationContext) -> None:
        config = uniform(context, (4, 4, 4))
        first, again = (dataclasses.replace(context.quality(config), seconds=0.0) for _ in range(2))
        assert first == again

    def test_two_contexts_of_a_spec_are_identical(
        self, context: EvaluationContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BITFRONT_CACHE", "off")
        other = EvaluationContext.from_spec(EvaluationSpec.from_json(SMALL.to_json()))
        images, _ = next(context.images("search").batches(40))
        for bits in ((8, 8, 8), (4, 8, 4), (4, 4, 4)):
            logits = [found.prepared.assemble(uniform(found, bits))(images) for found in (context, other)]
            assert torch.equal(*logits)

    def test_batches_do_not_matter(self, context: EvaluationContext) -> None:
        images, _ = next(context.images("search").batches(40))
        model = context.prepared.assemble(uniform(context, (8, 8, 4)))
        split = torch.cat([model(part) for part in images.split(7)])
        # Attention is added up in float lanes, exactly; only roundings of ties may follow the batch.
        assert float((model(images) == split).double().mean()) > 0.99

    def test_threads_do_not_matter_and_share_what_is_known(self, context: EvaluationContext) -> None:
        config = uniform(context, (4, 8, 8))
        shared = context.on_threads(3)
        assert (shared.spec.threads, context.spec.threads) == (3, 1)
        assert shared.quality(config).values == context.quality(config).values
        assert shared.images("search") is context.images("search")
        assert shared.float_quality() == context.float_quality()


def test_a_context_ends_with_its_last_user(context: EvaluationContext) -> None:
    mine = dataclasses.replace(context)
    assert mine.float_quality() == mine.float_quality()
    alive = weakref.ref(mine)
    del mine
    gc.collect()
    assert alive() is None


class TestFailures:
    def test_a_stream_that_overflows_on_some_image_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        context = EvaluationContext.from_spec(dataclasses.replace(SMALL, scheme="deploy"))
        embed, tokens = QuantizedEmbedding.__call__, context.prepared.blueprint.tokens

        def overflowing(self: QuantizedEmbedding, images: torch.Tensor, tap: Tap = unseen) -> torch.Tensor:
            x = embed(self, images, tap)
            x[10 * tokens : 11 * tokens] = torch.inf  # of the eleventh image of a batch, if there is one
            return x

        monkeypatch.setattr(QuantizedEmbedding, "__call__", overflowing)
        with pytest.raises(
            BitfrontError, match=r"NaN or infinity at blocks\.0\.residual1 with configuration"
        ):
            context.quality(uniform(context, (8, 8, 8)))

    def test_a_float_model_that_overflows_on_some_images_is_named(self, context: EvaluationContext) -> None:
        torch.manual_seed(0)
        faulty = dataclasses.replace(context)
        pixels = context.images("search")
        bright = dataclasses.replace(pixels, pixels=pixels.pixels.float() * 1e38)
        faulty._loaded["search"] = bright
        with pytest.raises(
            BitfrontError, match="the float model has NaN or infinity at image on these images"
        ):
            faulty.float_quality()

    def test_configurations_of_other_models_are_refused(self, context: EvaluationContext) -> None:
        config = uniform(context, (8, 8, 8))
        with pytest.raises(UserError, match="has 11 encoders, but digits_deit has 12"):
            context.quality(dataclasses.replace(config, encoders=config.encoders[:-1]))
        with pytest.raises(UserError, match="for scheme 'deploy'; this model was prepared for 'fq-vit'"):
            context.quality(dataclasses.replace(config, scheme="deploy"))

    def test_widths_that_were_not_prepared_are_refused(self, context: EvaluationContext) -> None:
        with pytest.raises(UserError, match=r"widths \[3\] of \w+ were not prepared; prepared are \[4, 8\]"):
            context.quality(uniform(context, (8, 3, 8)))

    def test_weights_that_overflow_are_named_by_site(self, tmp_path: Path) -> None:
        state = load_model("digits_deit").module.state_dict()
        state["blocks.7.attn.proj.weight"].fill_(3e38)
        save_file(state, tmp_path / "broken.safetensors")
        spec = dataclasses.replace(SMALL, checkpoint=str(tmp_path / "broken.safetensors"))
        with pytest.raises(BitfrontError, match=r"NaN or infinity at blocks\.7\.attn\.proj"):
            EvaluationContext.from_spec(spec)

    def test_other_pinned_widths_are_refused(self, context: EvaluationContext) -> None:
        config = dataclasses.replace(uniform(context, (8, 8, 8)), pinned=(("embedding", 8), ("head", 4)))
        with pytest.raises(UserError, match=r"the bit config pins .* scheme 'fq-vit' runs"):
            context.quality(config)

    @pytest.mark.parametrize("kind", ["weights", "activations"])
    def test_unknown_layers_are_named(self, context: EvaluationContext, kind: str) -> None:
        layers = {"attn.qkv": 4, "attn.proj": 8, "mlp.fc1": 8, "mlp.fc2": 8, "mlp.fc3": 4}
        config = uniform(context, (8, 8, 8))
        odd = dataclasses.replace(config.encoders[2], **{kind: collapse(layers)})
        mixed = dataclasses.replace(config, encoders=(*config.encoders[:2], odd, *config.encoders[3:]))
        with pytest.raises(
            UserError, match=r"blocks\.2 has no layer mlp\.fc3; its layers are attn\.qkv, "
        ) as caught:
            context.quality(mixed)
        assert "\n" not in str(caught.value)


def test_a_class_that_is_not_there_is_refused_before_anything_is_prepared(monkeypatch) -> None:
    spec = EvaluationSpec(model="digits_deit", scheme="fq-vit", metrics=("macro_f1", "sensitivity:cat"))
    monkeypatch.setattr("bitfront.evaluators.context.context.calibrated_for", None)
    with pytest.raises(UserError, match="there is no class 'cat': the classes are 0"):
        EvaluationContext.from_spec(spec)
