"""Files of models: weights, packed files, graphs, their records, and exported folders."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

from mutations import ARCHIVE, BYTES, GRAPH, JSON, TENSORS, XML
from subject import Subject, command
from watched import Bounds

NATIVE = Bounds(seconds=30.0)
EXPORTED = Path(__file__).parent / "exported"


def _digest(tensors: dict) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(-1).numpy().tobytes())
    return digest.hexdigest()


def _small_vit():
    import torch

    from bitfront.evaluators.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(1)
    module = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=2, num_classes=7, pos_embed="learn"
    )
    module.pretrained_cfg = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25), "crop_pct": 0.9}
    return module.eval()


def _make_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from bitfront.evaluators.models.digits_models import build_digits

    torch.manual_seed(1)
    state = dict(build_digits("digits_vit").state_dict())
    save_file(state, folder / "w.safetensors", {"note": json.dumps({"accuracy": 90})})
    torch.save({"state_dict": state, "epoch": 3, "args": {"lr": 0.1, "img_size": 32}}, folder / "w.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    (folder / "config.json").write_text(
        json.dumps(
            {"architecture": "vit", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9}}
        )
    )


def _weights(name: str):
    def read(folder: Path) -> object:
        from bitfront.evaluators.models.loading import load_model

        return _digest(load_model("digits_vit", checkpoint=folder / name).module.state_dict())

    return read


def _make_given(folder: Path) -> None:
    from bitfront.evaluators.models.given_model import write_model

    (folder / "name").write_text(write_model(folder / "given.safetensors", _small_vit()).name)


def _given(folder: Path) -> object:
    from bitfront.evaluators.models.loading import load_model

    model = load_model((folder / "name").read_text(), checkpoint=folder / "given.safetensors")
    return _digest(model.module.state_dict()), str(sorted(model.data_config.items()))


def _make_packed(folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "evaluators" / "packed"))
    from test_damage import content_of

    for name, model, scheme in (("p", "digits_vit", "fq-vit"), ("d", "digits_swin", "deploy")):
        path = folder / f"{name}.safetensors"
        path.write_bytes(content_of(model, scheme, folder))
    (folder / "whole").unlink()


def _packed(name: str):
    def read(folder: Path) -> object:
        import torch

        from bitfront.evaluators.packed.file import read_packed

        model = read_packed(folder / name)
        images = torch.linspace(-1, 1, steps=int(torch.tensor(model.blueprint.image_shape).prod()))
        found = model.assemble()(images.view(1, *model.blueprint.image_shape))
        return model.classes, hashlib.sha256(found.numpy().tobytes()).hexdigest()

    return read


def _document(name: str):
    def read(folder: Path) -> object:
        from bitfront.search.session.specs import config_spec, read_config_document
        from bitfront.spaces import BitConfig

        document = read_config_document(folder / name)
        spec = config_spec(document)
        spec.check()
        return BitConfig.from_json(document).digest, json.dumps(spec.to_json(), sort_keys=True)

    return read


def _make_exported(folder: Path) -> None:
    """Exports of a point in every format; made once and kept for the other kinds of files of them."""
    kept = folder.parents[1] / "exported"
    if not kept.exists():
        source = Path(__file__).parents[1] / "search" / "conftest.py"
        spec = importlib.util.spec_from_file_location("stress_conftest", source)
        conftest = importlib.util.module_from_spec(spec)
        sys.modules["stress_conftest"] = conftest
        spec.loader.exec_module(conftest)
        making = kept.with_name("making")
        making.mkdir()
        images = {"calibration_images": 32, "search_images": 40, "test_images": 60}
        conftest.make_run(making, name="small", count=60, scheme="deploy", threads=1, **images)
        common = ("export", "small", "--runs-dir", making, "--pick")
        point = "size"
        command(*common, point, "--format", "onnx", "--output", making / "m.onnx")
        command(*common, point, "--format", "openvino", "--output", making / "ir.xml")
        command(*common, point, "--format", "json", "--output", making / "bits.json")
        command(*common, point, "--format", "onnx", "--output", making / "folder")
        shutil.rmtree(making / "small")
        making.rename(kept)
    shutil.copytree(kept, folder, dirs_exist_ok=True)


def _run_in(runtime: str, name: str):
    def read(folder: Path) -> object:
        import numpy as np

        from bitfront.evaluators.deployment.registry import file_document
        from bitfront.evaluators.deployment.runtimes.registry import runtime_named

        document = file_document(folder / name)
        session = runtime_named(runtime).load(folder / name)
        session.kernels()
        found = session(np.zeros((1, 1, 16, 16), np.float32))
        return len(document), found.shape

    return read


def _sidecar(folder: Path) -> object:
    from bitfront.evaluators.deployment.expectation import Sidecar

    found = Sidecar.read(folder / "m.onnx.verification.json")
    return found.digest, found.splits


def _predicts(folder: Path) -> object:
    from PIL import Image

    from bitfront.evaluators.deployment.predict import Model, PredictError
    from bitfront.spaces import UserError

    try:
        return str(Model(folder / "folder", threads=1).predict(Image.new("L", (16, 16), 90)))
    except PredictError as error:
        raise UserError(str(error)) from error


SUBJECTS = (
    Subject(
        "weights (.safetensors)",
        _make_weights,
        [("w.safetensors", TENSORS), ("w.safetensors", TENSORS), ("config.json", JSON)],
        [_weights("w.safetensors")],
    ),
    Subject(
        "weights (torch's format)", _make_weights, [("w.pth", ARCHIVE)], [_weights("w.pth")], sealed=True
    ),
    Subject(
        "weights (torch's legacy format)", _make_weights, [("legacy.pth", BYTES)], [_weights("legacy.pth")]
    ),
    Subject(
        "a model that was given as a Python object",
        _make_given,
        [("given.safetensors", TENSORS)],
        [_given],
        sealed=True,
    ),
    Subject(
        "packed file, fq-vit",
        _make_packed,
        [("p.safetensors", TENSORS)],
        [_packed("p.safetensors")],
        sealed=True,
    ),
    Subject(
        "packed file, deploy",
        _make_packed,
        [("d.safetensors", TENSORS)],
        [_packed("d.safetensors")],
        sealed=True,
    ),
    Subject("bit config", _make_exported, [("bits.json", JSON)], [_document("bits.json")]),
    Subject("record of a verification", _make_exported, [("m.onnx.verification.json", JSON)], [_sidecar]),
    Subject(
        "ONNX",
        _make_exported,
        [("m.onnx", GRAPH)],
        [_run_in("onnxruntime", "m.onnx"), _document("m.onnx")],
        bounds=NATIVE,
        share=0.5,
    ),
    Subject(
        "OpenVINO IR",
        _make_exported,
        [("ir.xml", XML), ("ir.xml", XML), ("ir.bin", BYTES)],
        [_run_in("openvino", "ir.xml"), _document("ir.xml")],
        bounds=NATIVE,
        share=0.5,
    ),
    Subject(
        "exported folder, read by its predict.py",
        _make_exported,
        [("folder/preprocessing.json", JSON), ("folder/classes.json", JSON), ("folder/model.onnx", BYTES)],
        [_predicts],
        bounds=NATIVE,
        share=0.5,
    ),
)
