"""Models given as Python objects: rebuilt exactly from their file, or refused with the reason."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bitfront.evaluators.models.architecture import DIGEST_KEY, METADATA_KEY, Architecture, read_architecture
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.given_model import write_model
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.outlines import model_outline
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

ensure_torchvision()
import timm  # noqa: E402
from timm.models.deit import VisionTransformerDistilled  # noqa: E402
from timm.models.swin_transformer import SwinTransformer  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

VIT: dict[str, Any] = {
    "img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 7,
}  # fmt: skip
SWIN: dict[str, Any] = {
    "img_size": 32, "patch_size": 2, "embed_dim": 16, "depths": (1, 2), "num_heads": (2, 2), "window_size": 4,
    "num_classes": 5,
}  # fmt: skip
NORMALISATION = {
    "mean": (0.4, 0.5, 0.6),
    "std": (0.2, 0.3, 0.25),
    "interpolation": "bilinear",
    "crop_pct": 0.9,
}


def built(family: type[nn.Module] = VisionTransformer, **options: Any) -> Any:
    """A module with random weights, none of them trivial."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module: Any = family(**{**(SWIN if family is SwinTransformer else VIT), **options})
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    module.pretrained_cfg = dict(NORMALISATION)
    return module.eval()


def logits(module: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        found: torch.Tensor = module(images)
    return found


AVERAGED = {"global_pool": "avg", "class_token": False, "reg_tokens": 3, "no_embed_class": True}


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (VisionTransformer, {}),
        (VisionTransformer, {"mlp_ratio": 2.3, "num_heads": 3}),
        (VisionTransformer, AVERAGED),
        (VisionTransformer, {"global_pool": "avg", "fc_norm": False, "pool_include_prefix": True}),
        (VisionTransformer, {"fc_norm": True, "init_values": 0.1}),
        (VisionTransformer, {"pre_norm": True, "qkv_bias": False, "proj_bias": False}),
        (VisionTransformer, {"pos_embed": "none", "dynamic_img_size": True}),
        (VisionTransformer, {"img_size": (16, 8), "patch_size": (4, 2)}),
        (VisionTransformerDistilled, {}),
        (SwinTransformer, {}),
        (SwinTransformer, {"window_size": 16}),
        (SwinTransformer, {"head_dim": 4, "mlp_ratio": 1.7, "dynamic_img_size": True}),
        (SwinTransformer, {"window_size": ((8, 8), (4, 4))}),
    ],
)
def test_constructed_modules_are_rebuilt_exactly(
    tmp_path: Path, family: type[nn.Module], options: dict[str, Any]
) -> None:
    module = built(family, **options)
    architecture = write_model(tmp_path / "m.safetensors", module)
    assert architecture.name == family.__name__
    loaded = load_model(architecture.name, checkpoint=tmp_path / "m.safetensors")
    shape = loaded.data_config["input_size"]
    assert shape == (3, *module.patch_embed.img_size)
    assert torch.equal(logits(loaded.module, shape), logits(module, shape))
    assert {name: loaded.data_config[name] for name in NORMALISATION} == NORMALISATION
    assert loaded.architecture == architecture
    blueprint_of(architecture.name, loaded.module)  # compares the forward pass in parts


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deit_tiny_patch16_224", {"img_size": 32, "num_classes": 4, "depth": 2}),
        ("deit_tiny_distilled_patch16_224", {"num_classes": 3, "depth": 1}),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "depth": 1, "img_size": (32, 48)}),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1), "num_heads": (3, 6), "num_classes": 4}),
    ],
)
def test_models_of_timm_keep_their_name_and_preprocessing(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    module = timm.create_model(name, **options)
    architecture = write_model(tmp_path / "m.safetensors", module)
    assert architecture.name == name
    loaded = load_model(name, checkpoint=tmp_path / "m.safetensors")
    assert loaded.classes == module.num_classes
    expected = timm.data.resolve_data_config({}, model=module)
    assert loaded.data_config == {**expected, "input_size": (3, *module.patch_embed.img_size)}


def test_the_module_is_left_as_it_is(tmp_path: Path) -> None:
    module = built(drop_rate=0.5, proj_drop_rate=0.5, drop_path_rate=0.3).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    write_model(tmp_path / "m.safetensors", module)
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.compile,
        lambda module: nn.DataParallel(torch.compile(module)),
        nn.Module.bfloat16,
        lambda module: module.to(memory_format=torch.channels_last),
    ],
)
def test_wrappers_and_half_precision(tmp_path: Path, wrap: Callable[[nn.Module], nn.Module]) -> None:
    architecture = write_model(tmp_path / "m.safetensors", wrap(built()))
    state = load_file(tmp_path / "m.safetensors")
    plain = wrap(built()) if wrap is nn.Module.bfloat16 else built()
    for name, value in plain.state_dict().items():
        assert torch.equal(state[name], value.float())
    assert architecture.name == "VisionTransformer"


def one_channel(config: dict[str, Any]) -> nn.Module:
    module = built(in_chans=1)
    module.pretrained_cfg = config
    return module  # type: ignore[no-any-return]


def hooked() -> nn.Module:
    module = built()
    module.blocks[0].register_forward_hook(lambda _, __, output: output * 1.01)
    return module  # type: ignore[no-any-return]


def parametrized() -> nn.Module:
    module = built()
    nn.utils.parametrizations.weight_norm(module.head)
    return module  # type: ignore[no-any-return]


def patched() -> nn.Module:
    module = built()
    forward = module.forward_head
    module.forward_head = lambda x: (forward(x), x)
    return module  # type: ignore[no-any-return]


def changed(name: str, value: Any) -> nn.Module:
    module = built()
    setattr(module, name, value)
    return module  # type: ignore[no-any-return]


def not_finite() -> nn.Module:
    module = built()
    with torch.no_grad():
        module.head.weight[0, 0] = float("nan")
    return module  # type: ignore[no-any-return]


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return VisionTransformer(**VIT)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: "deit", "the model is a str, not a torch module; give a timm ViT"),
        (lambda: timm.create_model("resnet18"), "resnet18 cannot be quantized: it is a ResNet"),
        (lambda: built(attn_layer="diff"), "encoder 0 has DiffAttention where plain multi-head attention"),
        (lambda: built(act_layer="sigmoid"), "has activation Sigmoid where gelu, gelu_tanh"),
        (lambda: built(num_classes=0), "the model has no classifier"),
        (lambda: built().double(), r"is torch.float64: give model.float\(\)"),
        (on_meta, "is on the meta device: load its weights first"),
        (not_finite, "head.weight holds values that are not finite"),
        (hooked, "cannot be rebuilt: logits deviate by .*such as a hook"),
        (patched, "gives no logits of shape"),
        (parametrized, r"cannot be rebuilt: .* 1 tensors missing \(head.weight\)"),
        (lambda: changed("pretrained_cfg", {}), "does not say how its images are normalised: set"),
        (lambda: changed("pretrained_cfg", {**NORMALISATION, "std": (0, 0, 0)}), "cannot be used: expected"),
        (lambda: one_channel(NORMALISATION), "takes 1 channels and its pretrained_cfg has 3 values of mean"),
    ],
)
def test_what_no_file_could_say_is_refused(tmp_path: Path, make: Callable[[], Any], match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        write_model(tmp_path / "m.safetensors", make())
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_one_value_of_normalisation_is_that_of_every_channel(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors", changed("pretrained_cfg", {"mean": (0.5,), "std": (0.25,)}))
    loaded = load_model("VisionTransformer", checkpoint=tmp_path / "m.safetensors")
    assert loaded.data_config["mean"] == (0.5,) * 3
    write_model(tmp_path / "m.safetensors", one_channel({"mean": (0.5,), "std": (0.25,)}))
    loaded = load_model("VisionTransformer", checkpoint=tmp_path / "m.safetensors")
    assert loaded.data_config["input_size"] == (1, 16, 16)


READER = """
import sys, torch
from pathlib import Path
from bitfront.evaluators.models.loading import load_model
module = load_model("VisionTransformer", checkpoint=Path(sys.argv[1])).module
images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))
with torch.inference_mode():
    torch.save(module(images), sys.argv[2])
"""


def test_another_process_rebuilds_the_same(tmp_path: Path) -> None:
    module = built(**AVERAGED)
    path = tmp_path / "m.safetensors"
    write_model(path, module)
    subprocess.run([sys.executable, "-c", READER, str(path), str(tmp_path / "logits")], check=True)
    found = torch.load(tmp_path / "logits", weights_only=True)
    torch.testing.assert_close(found, logits(module, (3, 16, 16)), rtol=1e-5, atol=1e-6)


class TestFiles:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        write_model(tmp_path / "m.safetensors", built())
        return tmp_path / "m.safetensors"

    @staticmethod
    def document() -> dict[str, Any]:
        arguments = {
            "img_size": [16, 16], "patch_size": [4, 4], "in_chans": 3, "num_classes": 7, "embed_dim": 24,
            "qkv_bias": True, "norm_eps": 1e-6, "global_pool": "token", "depth": 2, "num_heads": 2,
            "mlp_ratio": 4.0, "proj_bias": True, "init_values": None, "class_token": True,
            "pos_embed": "learn", "no_embed_class": False, "reg_tokens": 0, "pre_norm": False,
            "fc_norm": False, "pool_include_prefix": False,
        }  # fmt: skip
        preprocessing = {
            "input_size": [3, 16, 16], "interpolation": "bilinear", "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.3, 0.25], "crop_pct": 0.9, "crop_mode": "center",
        }  # fmt: skip
        return {
            "format": "bitfront/float-model", "version": 1, "name": "VisionTransformer",
            "family": "VisionTransformer", "arguments": arguments, "preprocessing": preprocessing,
        }  # fmt: skip

    def test_the_description_is_plain_json(self, path: Path) -> None:
        architecture = read_architecture(path)
        assert architecture is not None
        assert architecture.to_json() == self.document()
        assert Architecture.from_json(self.document()) == architecture

    def test_files_without_a_description_have_none(self, tmp_path: Path) -> None:
        assert read_architecture(tmp_path / "missing.safetensors") is None
        (tmp_path / "damaged.safetensors").write_bytes(b"no such file")
        assert read_architecture(tmp_path / "damaged.safetensors") is None
        save_file({"w": torch.ones(1)}, tmp_path / "plain.safetensors")
        assert read_architecture(tmp_path / "plain.safetensors") is None

    def test_another_name_is_refused(self, path: Path) -> None:
        with pytest.raises(UserError, match="of VisionTransformer, not of digits_deit: pass --model Vis"):
            load_model("digits_deit", checkpoint=path)

    def test_other_weights_are_refused(self, path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(UserError, match="has changed since it was written: its digest differs"):
            load_model("VisionTransformer", checkpoint=path)

    def rewritten(self, path: Path, document: object, state: dict[str, torch.Tensor] | None = None) -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        save_file(state or load_file(path), path, {METADATA_KEY: text})

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("img_size", [16, 16.0]),
            ("img_size", 16),
            ("img_size", [10**9, 10**9]),
            ("patch_size", [0, 4]),
            ("in_chans", 4),
            ("in_chans", True),
            ("num_classes", "7"),
            ("embed_dim", -1),
            ("qkv_bias", 1),
            ("norm_eps", float("nan")),
            ("norm_eps", None),
            ("global_pool", "map"),
            ("depth", 10**6),
            ("mlp_ratio", 1e9),
            ("class_token", "__import__('os')"),
            ("pos_embed", ["learn"]),
            ("num_heads", [2]),
            ("reg_tokens", 10**9),
        ],
    )
    def test_arguments_out_of_range(self, path: Path, key: str, value: object) -> None:
        document = self.document()
        document["arguments"][key] = value
        self.rewritten(path, document)
        with pytest.raises(UserError, match=rf"m.safetensors describes .* argument {key} is") as caught:
            load_model("VisionTransformer", checkpoint=path)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"format": "bitfront/packed"}, "expected an architecture of format"),
            ({"version": 2}, "its version is 2; expected 1"),
            ({"name": ""}, "its name is ''"),
            ({"name": "a\nb"}, "its name is"),
            ({"family": "os.system"}, "its family is 'os.system'; expected one of VisionTransformer"),
            ({"family": ["VisionTransformer"]}, "its family is"),
            ({"arguments": {}}, "its arguments are not those of a VisionTransformer"),
            ({"arguments": None}, "its arguments are not those"),
            ({"preprocessing": None}, "its preprocessing cannot be used"),
            ({"family": "SwinTransformer"}, "its arguments are not those of a SwinTransformer"),
        ],
    )
    def test_other_documents(self, path: Path, changes: dict[str, Any], match: str) -> None:
        self.rewritten(path, {**self.document(), **changes})
        with pytest.raises(UserError, match=match):
            load_model("VisionTransformer", checkpoint=path)

    @pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", " " * 1_000_001])
    def test_texts_that_are_no_documents(self, path: Path, text: str) -> None:
        self.rewritten(path, text)
        with pytest.raises(UserError, match="describes a model that cannot be rebuilt"):
            load_model("VisionTransformer", checkpoint=path)

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"num_heads": 5}, "timm cannot construct a VisionTransformer as described"),
            ({"class_token": False}, "timm cannot construct a VisionTransformer as described"),
            ({"depth": 3}, "does not fit VisionTransformer: 12 tensors missing"),
            ({"embed_dim": 65536}, "has shape"),  # known before any memory is taken for it
        ],
    )
    def test_descriptions_that_do_not_fit(self, path: Path, changes: dict[str, Any], match: str) -> None:
        document = self.document()
        document["arguments"].update(changes)
        self.rewritten(path, document)
        with pytest.raises(UserError, match=match):
            load_model("VisionTransformer", checkpoint=path)

    def test_masks_larger_than_memory_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "m.safetensors"
        architecture = write_model(path, built(SwinTransformer))
        document = architecture.to_json()
        document["arguments"] |= {"img_size": [4096, 4096], "window_size": [[1024, 1024]]}
        document["preprocessing"]["input_size"] = [3, 4096, 4096]
        self.rewritten(path, document)
        with pytest.raises(UserError, match="its attention masks are larger than any model needs"):
            load_model("SwinTransformer", checkpoint=path)

    def test_an_outline_takes_no_memory(self, path: Path) -> None:
        architecture = read_architecture(path)
        outline = model_outline("VisionTransformer", architecture=architecture)
        assert all(parameter.is_meta for parameter in outline.parameters())

    def test_the_header_is_what_safetensors_reads(self, path: Path) -> None:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        assert set(metadata) == {METADATA_KEY, DIGEST_KEY}
