"""Bits by module name for other toolchains: what a document holds, and what the toolchains make of it."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from evaluator_contracts import ToolMappingContract
from peculiar_cases import PECULIAR
from torch import nn

from bitfront.evaluators.deployment.mappings.assignment import Assignment, ModelLayer, assign, model_layers
from bitfront.evaluators.deployment.mappings.registry import MAPPINGS, ToolMapping, mapping_named, to_document
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.loading import model_outline
from bitfront.spaces import BitConfig, EncoderBits, UserError

Build = Callable[..., nn.Module]
Bits = dict[str, int]

LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
WEIGHTS = (("attn.proj", 8), ("attn.qkv", 4), ("mlp.fc1", 3), ("mlp.fc2", 8))
ACTIVATIONS = (("attn.proj", 4), ("attn.qkv", 6), ("mlp.fc1", 8), ("mlp.fc2", 4))
# Every other encoder has bits by layer and 4-bit attention.
MIXED, PLAIN = (WEIGHTS, ACTIVATIONS, 4), (8, 8, 8)


def config_of(module: nn.Module, scheme: str = "deploy") -> BitConfig:
    names = [name.removesuffix(".attn") for name, _ in module.named_modules() if name.endswith(".attn")]
    return BitConfig(
        "small",
        scheme,
        tuple(EncoderBits(i, name, *(PLAIN if i % 2 else MIXED)) for i, name in enumerate(names)),
    )


@pytest.fixture(params=["vit", "swin"])
def model(request: pytest.FixtureRequest, small_vit: Build, small_swin: Build) -> nn.Module:
    """A small model whose softmax output passes a Dropout module, as the toolchains need it."""
    built = small_vit(3) if request.param == "vit" else small_swin(3, img_size=16)
    for child in built.modules():
        if hasattr(child, "fused_attn"):
            child.fused_attn = False
    return built


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def written(tool: str, model: nn.Module) -> dict[str, Any]:
    """The mapping as a program reads it from a file."""
    document = to_document(mapping_named(tool), config_of(model), model_layers(model))
    mapping: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))["mapping"]
    return mapping


def weight_bits(model: nn.Module) -> Bits:
    """What each layer must have, straight from the configuration."""
    config, found = config_of(model), {}
    for name, child in model.named_modules():
        if isinstance(child, nn.Linear | nn.Conv2d):
            encoder = next((e for e in config.encoders if name.startswith(f"{e.name}.")), None)
            found[name] = 8 if encoder is None else encoder.bits("weights", name[len(encoder.name) + 1 :])
    return found


def input_bits(model: nn.Module) -> Bits:
    config, found = config_of(model), dict.fromkeys(weight_bits(model), 8)
    for encoder in config.encoders:
        found |= {f"{encoder.name}.{layer}": encoder.bits("activations", layer) for layer in LAYERS}
    return found


def product_bits(model: nn.Module) -> Bits:
    """Widths of queries, keys and values."""
    return {
        f"{encoder.name}.attn.qkv": encoder.bits("activations", "attn.qkv")
        for encoder in config_of(model).encoders
    }


def attention_bits(model: nn.Module) -> Bits:
    return {f"{encoder.name}.attn.attn_drop": encoder.attention for encoder in config_of(model).encoders}


def tool(name: str) -> Any:
    """A toolchain's module where it is installed and fits this torch."""
    return pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)


def check_distance(quantized: torch.Tensor, floats: torch.Tensor) -> None:
    """Logits moved, as rounding moves them, and are still those of the model."""
    distance = float((quantized - floats).norm() / floats.norm())
    assert 1e-3 < distance < 0.7


@pytest.mark.parametrize("name", list(MAPPINGS))
def test_document_carries_the_config_and_is_json(name: str, model: nn.Module) -> None:
    config = config_of(model)
    document = to_document(
        mapping_named(name), config, model_layers(model), {"top1": 0.7}, {"run": "r", "trial": 3}
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["format"] == "bitfront/mapping"
    assert document["toolchain"]["name"] == name
    assert BitConfig.from_json(document["bit_config"]).digest == config.digest
    assert document["bit_config"]["provenance"]["trial"] == 3
    assert all(note.endswith(".") and "\n" not in note for note in document["notes"])


@pytest.mark.parametrize("name", list(MAPPINGS))
def test_documents_differ_where_the_bits_do(name: str, model: nn.Module) -> None:
    layers = model_layers(model)
    first = config_of(model)
    encoders = list(first.encoders)
    encoders[1] = EncoderBits(1, encoders[1].name, (("attn.proj", 4), *WEIGHTS[1:]), 8, 8)
    second = BitConfig(first.model, first.scheme, tuple(encoders))
    mappings = [to_document(mapping_named(name), config, layers)["mapping"] for config in (first, second)]
    assert mappings[0] != mappings[1]


def test_layers_of_a_model_without_weights() -> None:
    layers = model_layers(model_outline("swin_tiny_patch4_window7_224"))
    assert layers[0] == ModelLayer("patch_embed.proj", 96, convolution=True)
    assert ModelLayer("layers.1.downsample.reduction", 192) in layers
    assert layers[-1] == ModelLayer("head.fc", 1000)
    assert len(layers) == 4 * 12 + 3 + 2


def test_layers_outside_the_encoders_take_the_pinned_bits(model: nn.Module) -> None:
    config = config_of(model)
    pinned = BitConfig(config.model, config.scheme, config.encoders, (("embedding", 7), ("head", 6)))
    widths = {a.layer.name: (a.weights, a.inputs) for a in assign(pinned, model_layers(model)).layers}
    assert widths["patch_embed.proj"] == (7, 7)
    assert widths["head.fc" if "head.fc" in widths else "head"] == (6, 6)
    assert widths.get("layers.1.downsample.reduction", (7, 7)) == (7, 7)


def test_a_distilled_model_has_two_heads() -> None:
    module = model_outline("deit_tiny_distilled_patch16_224")
    layers = assign(config_of(module), model_layers(module)).layers
    assert [a.layer.name for a in layers[-2:]] == ["head", "head_dist"]


@pytest.mark.parametrize(
    ("encoder", "found"),
    [
        (EncoderBits(3, "blocks.3", 8, 8, 8), "blocks.3 is"),
        (EncoderBits(3, "blocks.2", (("attn.q", 4), *WEIGHTS), 8, 8), "blocks.2.attn.q is"),
    ],
)
def test_a_config_of_another_model_is_refused(small_vit: Build, encoder: EncoderBits, found: str) -> None:
    module = small_vit(3)
    config = config_of(module)
    other = BitConfig(config.model, config.scheme, (*config.encoders[:2], encoder))
    with pytest.raises(UserError, match=f"^bit config: {found} no layer of this model; expected ") as caught:
        to_document(mapping_named("nncf"), other, model_layers(module))
    assert "\n" not in str(caught.value)


def by_layer(name: str) -> tuple[dict[str, tuple[int, int, int | None]], BitConfig, tuple[ModelLayer, ...]]:
    """Widths of the modules of a model's first encoder by their names within it, and what they come from."""
    module = PECULIAR[name]()
    encoders = blueprint_of(name, module.eval()).encoder_layers()
    config = BitConfig(
        name, "deploy", tuple(EncoderBits(e.index, e.name, WEIGHTS, ACTIVATIONS, 4) for e in encoders)
    )
    layers = model_layers(module)
    first = f"{encoders[0].name}."
    found = {
        a.layer.name.removeprefix(first): (a.weights, a.inputs, a.outputs)
        for a in assign(config, layers).layers
        if a.layer.name.startswith(first)
    }
    return found, config, layers


def test_layers_of_several_modules_have_one_gene() -> None:
    assert by_layer("eva02")[0] == {
        **dict.fromkeys(("attn.q_proj", "attn.k_proj", "attn.v_proj"), (4, 6, 6)),
        "attn.proj": (8, 4, None),
        **dict.fromkeys(("mlp.fc1_g", "mlp.fc1_x"), (3, 8, None)),
        "mlp.fc2": (8, 4, None),
    }


@pytest.mark.parametrize("name", ["swin v2", "relative mlp", "relative shared"])
def test_what_makes_position_biases_is_no_layer(name: str) -> None:
    found, _, layers = by_layer(name)
    assert set(found) == set(LAYERS)
    assert not any("mlp.fc" in layer.name and "blocks" not in layer.name for layer in layers)


def test_attention_pooling_has_the_bits_of_the_head() -> None:
    _, config, layers = by_layer("siglip")
    pinned = BitConfig(config.model, config.scheme, config.encoders, (("embedding", 7), ("head", 6)))
    widths = {a.layer.name: a.weights for a in assign(pinned, layers).layers if "blocks" not in a.layer.name}
    pooling = ("attn_pool.kv", "attn_pool.proj", "attn_pool.mlp.fc1", "attn_pool.mlp.fc2")
    # The layer of the learned query makes a constant.
    assert widths == {"patch_embed.proj": 7, **dict.fromkeys(pooling, 6), "head": 6}


def test_layers_that_are_not_called_are_told() -> None:
    """timm's EVA, BEiT and Swin V2 multiply by their weights with biases from elsewhere."""
    _, config, layers = by_layer("eva clip")
    called, bypassed = "blocks.0.attn.proj", "blocks.0.attn.qkv"
    hooks = {
        hook
        for entry in to_document(mapping_named("nncf"), config, layers)["mapping"]["compression_state"]
        for hook in entry["hook_names_in_model"]
    }
    assert "pre_hooks.blocks/0/attn/linear/0__1.0" in hooks
    assert not any("/qkv/" in hook for hook in hooks)
    document = to_document(mapping_named("modelopt"), config, layers)
    names = {entry["quantizer_name"] for entry in document["mapping"]["quant_cfg"]}
    assert f"{called}.weight_quantizer" in names
    assert f"{bypassed}.weight_quantizer" not in names
    assert any(
        note.startswith("2 layers of queries, keys and values stay float") for note in document["notes"]
    )
    assert any(note.startswith("Queries and keys are rounded as") for note in document["notes"])
    plain = to_document(mapping_named("modelopt"), *by_layer("clip")[1:])["notes"]
    assert not any("stay float" in note or "rounded as" in note for note in plain)


def test_an_unknown_toolchain_is_refused() -> None:
    with pytest.raises(UserError, match="unknown toolchain 'aimet': choose one of torchao, nncf, modelopt"):
        mapping_named("aimet")


def test_notes_say_what_is_lost(model: nn.Module) -> None:
    layers, config = model_layers(model), config_of(model)
    lost = to_document(mapping_named("torchao"), config, layers)["notes"]
    narrow = sum(bits < 8 for bits in input_bits(model).values())
    assert any(note.startswith(f"{narrow} layers have 8-bit inputs") for note in lost)
    wide = BitConfig("small", "deploy", tuple(EncoderBits(e.index, e.name, 4, 8, 8) for e in config.encoders))
    assert not any("8-bit inputs" in n for n in to_document(mapping_named("torchao"), wide, layers)["notes"])
    integers = to_document(mapping_named("nncf"), config_of(model, "fq-vit"), layers)["notes"]
    assert any("scheme fq-vit" in note for note in integers)


def test_torchao_quantizes_each_layer_to_its_bits(model: nn.Module, batch: torch.Tensor) -> None:
    quantization = tool("torchao.quantization")
    core = importlib.import_module("torchao.core.config")
    with torch.no_grad():
        floats = model(batch)
    configuration = core.config_from_dict(written("torchao", model))
    assert core.config_from_dict(core.config_to_dict(configuration)) == configuration
    expected = weight_bits(model)
    quantization.quantize_(model, configuration, filter_fn=None)
    for name, bits in expected.items():
        weight: Any = model.get_submodule(name).weight
        if name == "patch_embed.proj":
            assert type(weight) is nn.Parameter
            continue
        whole = type(weight).__name__ == "Int8Tensor"
        assert (torch.int8 if whole else weight.target_dtype) == getattr(torch, f"int{bits}")
        assert weight.scale.numel() == weight.shape[0]
        assert weight.qdata.amin() >= -(1 << bits - 1)
        assert weight.qdata.amax() == (1 << bits - 1) - 1
        assert (weight.act_quant_kwargs if whole else weight.activation_quantization) is not None
    with torch.no_grad():
        check_distance(model(batch), floats)


@pytest.fixture
def quantized_dropout() -> Iterator[Any]:
    """ModelOpt, with a quantizer before every Dropout."""
    mtq = tool("modelopt.torch.quantization")
    inputs = importlib.import_module("modelopt.torch.quantization.nn").QuantInputBase
    mtq.register(nn.Dropout, type("QuantDropout", (inputs,), {}))
    yield mtq
    mtq.unregister(nn.Dropout)


def test_modelopt_quantizes_each_tensor_to_its_bits(
    model: nn.Module, batch: torch.Tensor, quantized_dropout: Any
) -> None:
    with torch.no_grad():
        floats = model(batch)
    expected = {f"{name}.weight_quantizer": bits for name, bits in weight_bits(model).items()}
    expected |= {f"{name}.input_quantizer": bits for name, bits in input_bits(model).items()}
    expected |= {f"{name}.output_quantizer": bits for name, bits in product_bits(model).items()}
    expected |= {f"{name}.input_quantizer": bits for name, bits in attention_bits(model).items()}
    quantized_dropout.quantize(model, written("modelopt", model), forward_loop=lambda m: m(batch))
    quantizers = {name: child for name, child in model.named_modules() if name.endswith("_quantizer")}
    enabled = {name: child for name, child in quantizers.items() if child.is_enabled}
    assert {name: child.num_bits for name, child in enabled.items()} == expected
    for name, child in enabled.items():
        parent = model.get_submodule(name.rpartition(".")[0])
        channels = parent.weight.shape[0] if name.endswith("weight_quantizer") else 1
        assert child.amax.numel() == channels
        assert child.unsigned == ("attn_drop" in name)
    with torch.no_grad():
        check_distance(model(batch), floats)


@pytest.mark.slow  # NNCF compiles its fake quantization when it is first used
@pytest.mark.skipif(shutil.which("g++") is None, reason="NNCF compiles its fake quantization with g++")
def test_nncf_restores_each_quantizer_with_its_bits(
    model: nn.Module, batch: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_nncf = tool("nncf.torch")
    hooks = importlib.import_module("nncf.torch.function_hook")
    monkeypatch.setenv("NNCF_EXTENSION_LOAD_TIMEOUT", "0")
    with torch.no_grad():
        floats = model(batch)
    mapping = written("nncf", model)
    quantized = torch_nncf.load_from_config(model, mapping)
    quantizers = dict(hooks.get_hook_storage(quantized).named_hooks())

    def set_range(quantizer: Any, inputs: tuple[torch.Tensor]) -> None:
        values = inputs[0].detach().abs()
        channels = len(quantizer.scale.flatten())
        peaks = values.amax() if channels == 1 else values.flatten(1).amax(1)
        quantizer.scale.data.copy_(peaks.reshape(quantizer.scale.shape))
        ran.append(quantizer)

    ran: list[Any] = []
    handles = [quantizer.register_forward_pre_hook(set_range) for quantizer in quantizers.values()]
    with torch.no_grad():
        quantized(batch)
    for handle in handles:
        handle.remove()
    assert {id(quantizer) for quantizer in ran} == {id(quantizer) for quantizer in quantizers.values()}
    assert {name: child.num_bits for name, child in quantizers.items()} == _nncf_hooks(model)
    kept = torch_nncf.get_config(quantized)["compression_state"]
    assert {entry["hook_names_in_model"][0] for entry in kept} == set(quantizers)
    with torch.no_grad():
        check_distance(quantized(batch), floats)


def _nncf_hooks(model: nn.Module) -> Bits:
    """Bits by the names that NNCF gives to its hooks."""

    def operator(name: str) -> str:
        kind = {"patch_embed.proj": "conv2d"}.get(name, "dropout" if name.endswith("attn_drop") else "linear")
        return f"{name.replace('.', '/')}/{kind}/0"

    expected = {f"pre_hooks.{operator(name)}__1.0": bits for name, bits in weight_bits(model).items()}
    inputs = input_bits(model) | attention_bits(model)
    expected |= {f"pre_hooks.{operator(name)}__0.0": bits for name, bits in inputs.items()}
    return expected | {f"post_hooks.{operator(name)}__0.0": b for name, b in product_bits(model).items()}


class TestContract(ToolMappingContract):
    @pytest.fixture(params=MAPPINGS)
    def tool(self, request: pytest.FixtureRequest) -> ToolMapping:
        return mapping_named(request.param)

    @pytest.fixture
    def assignment(self, model: nn.Module) -> Assignment:
        return assign(config_of(model), model_layers(model))
