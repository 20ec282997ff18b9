"""The program of exported folders prepares images as the evaluator does, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bitfront.evaluators.data.image_files import ImageFiles
from bitfront.evaluators.data.image_options import CROP_MODES, INTERPOLATIONS
from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.sample_depth import depth_of
from bitfront.evaluators.deployment import predict
from bitfront.evaluators.deployment.facts import ServingFacts, metadata_of
from bitfront.evaluators.deployment.predict import Model, PredictError, image_pixels
from bitfront.spaces import BitConfig, BitfrontError
from bitfront.spaces.sites import EncoderLayers

SETTINGS: dict[str, Any] = {
    "input_size": (3, 32, 32),
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.9,
    "crop_mode": "center",
}
GREY = {"input_size": (1, 32, 32), "mean": (0.306,), "std": (0.319,)}


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def source_of(*files: Path) -> ImageFiles:
    names = tuple(file.name for file in files)
    return ImageFiles("photos", files[0].parent, names, np.zeros(len(files), dtype=np.int64))


def program_of(config: dict[str, Any]) -> Callable[[Path], np.ndarray]:
    """What ``Model.prepare`` gives, without a model."""
    model = Model.__new__(Model)
    model.preprocessing = json.loads(json.dumps(config))
    return model.prepare


def assert_same(config: dict[str, Any], *files: Path) -> None:
    source = source_of(*files)
    bits = depth_of(source).bits
    expected = load_images(source, range(len(files)), config)
    (batch,) = [images.numpy() for images, _ in expected.batches(len(files))]
    prepare = program_of({**config, "whole_number_bits": bits})
    for position, file in enumerate(files):
        pixels = image_pixels(file, {**config, "whole_number_bits": bits})
        assert np.array_equal(pixels, expected.pixels[position].numpy()), file.name
        found = prepare(file)
        assert found.dtype == np.float32
        assert np.array_equal(found, batch[position]), file.name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)).filter(lambda size: max(size) <= 64 * min(size)),
    target=st.tuples(st.integers(1, 48), st.integers(1, 48))
    | st.integers(1, 48).map(lambda side: (side, side)),
    pct=st.sampled_from([1.0, 0.95, 0.9, 0.875, 0.5, 0.3]),
    mode=st.sampled_from(CROP_MODES),
    interpolation=st.sampled_from(INTERPOLATIONS),
    grey=st.booleans(),
)
def test_any_size_and_crop(
    tmp_path: Path,
    size: tuple[int, int],
    target: tuple[int, int],
    pct: float,
    mode: str,
    interpolation: str,
    grey: bool,
) -> None:
    file = tmp_path / "a.png"
    noise(*size).save(file)
    config = {**SETTINGS, **(GREY if grey else {}), "crop_pct": pct, "crop_mode": mode}
    config |= {"interpolation": interpolation, "input_size": (1 if grey else 3, *target)}
    try:
        assert_same(config, file)
    except (BitfrontError, ValueError, ZeroDivisionError):
        # What timm cannot resize, such as to no rows at all, the program refuses as well.
        with pytest.raises((PredictError, ValueError, ZeroDivisionError)):
            image_pixels(file, config)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P", "CMYK", "YCbCr"])
def test_modes(tmp_path: Path, mode: str, grey: bool) -> None:
    file = tmp_path / ("a.png" if mode in ("L", "1", "LA", "RGBA", "P") else "a.tiff")
    noise(50, 40, mode).save(file)
    assert_same({**SETTINGS, **(GREY if grey else {})}, file)


def test_jpeg_transparency_and_orientation(tmp_path: Path) -> None:
    noise(60, 40).save(tmp_path / "plain.jpg", quality=80)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned: neither turns it
    noise(60, 40).save(tmp_path / "turned.jpg", exif=exif)
    noise(60, 40, "P").save(tmp_path / "palette.png", transparency=3)
    noise(60, 40, "L").save(tmp_path / "grey.png", transparency=7)
    noise(60, 40).save(tmp_path / "progressive.jpg", progressive=True, quality=50)
    noise(60, 40).save(tmp_path / "small.webp", quality=70)
    files = sorted(tmp_path.iterdir())
    assert_same(SETTINGS, *files)
    assert_same({**SETTINGS, **GREY}, *files)
    turned, plain = (image_pixels(tmp_path / name, SETTINGS) for name in ("turned.jpg", "plain.jpg"))
    assert turned.shape == plain.shape == (3, 32, 32)


@pytest.mark.parametrize("largest", [255, 1000, 4095, 60000])
def test_whole_numbers_of_many_bits(tmp_path: Path, largest: int) -> None:
    rng = np.random.default_rng(0)
    files = []
    for number in range(3):
        values = rng.integers(0, largest + 1, (40, 50)).astype(np.uint16)
        values[0, 0] = largest
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(values).save(files[-1])
    assert_same({**SETTINGS, **GREY}, *files)
    dark = Image.fromarray(np.full((40, 50), 20, dtype=np.uint16))
    with pytest.raises(PredictError, match="whole numbers from 20 to 20"):
        image_pixels(dark, SETTINGS)


def test_images_in_memory(tmp_path: Path) -> None:
    image = noise(50, 40)
    image.save(tmp_path / "a.png")
    assert np.array_equal(image_pixels(image, SETTINGS), image_pixels(tmp_path / "a.png", SETTINGS))
    assert np.array_equal(image_pixels(str(tmp_path / "a.png"), SETTINGS), image_pixels(image, SETTINGS))


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [(b"", "not an image file"), (b"hello", "not an image file"), (b"\xff\xd8\xff\xe0" * 30, "")],
    )
    def test_files_that_are_none(self, tmp_path: Path, content: bytes, reason: str) -> None:
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(PredictError, match=r"a\.jpg: .*" + reason) as found:
            image_pixels(tmp_path / "a.jpg", SETTINGS)
        assert "\n" not in str(found.value)

    def test_truncated(self, tmp_path: Path) -> None:
        noise(300, 200).save(tmp_path / "a.jpg")
        (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:3000])
        with pytest.raises(PredictError, match=r"a\.jpg: .*truncated"):
            image_pixels(tmp_path / "a.jpg", SETTINGS)

    def test_missing_folders_slivers_and_floats(self, tmp_path: Path) -> None:
        with pytest.raises(PredictError, match=r"gone\.jpg: no such file"):
            image_pixels(tmp_path / "gone.jpg", SETTINGS)
        with pytest.raises(PredictError, match="not a plain file"):
            image_pixels(tmp_path, SETTINGS)
        with pytest.raises(PredictError, match="the image: 650x10 pixels is too elongated"):
            image_pixels(noise(650, 10), SETTINGS)
        with pytest.raises(PredictError, match="floating-point pixels"):
            image_pixels(Image.fromarray(np.zeros((9, 9), dtype=np.float32)), SETTINGS)

    def test_bombs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        noise(40, 40).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        with pytest.raises(PredictError, match="more than 1000 pixels"):
            image_pixels(tmp_path / "a.png", SETTINGS)

    def describe(self, folder: Path, names: list[str] | None = None) -> None:
        (folder / "preprocessing.json").write_text(json.dumps({**SETTINGS, "runtime": "openvino"}))
        classes = {"count": 2, "names": names, "several": False}
        (folder / "classes.json").write_text(json.dumps(classes))

    def test_folders_that_hold_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(PredictError, match=r"preprocessing\.json cannot be read"):
            Model(tmp_path)
        (tmp_path / "preprocessing.json").write_text("{}")
        with pytest.raises(PredictError, match=r"preprocessing\.json does not say runtime, input_size"):
            Model(tmp_path)
        self.describe(tmp_path, names=["a", "b", "c"])
        with pytest.raises(PredictError, match=r"classes\.json has 3 names for 2 outputs"):
            Model(tmp_path)
        self.describe(tmp_path)
        with pytest.raises(PredictError, match=r"has no model\.onnx or model\.xml"):
            Model(tmp_path)
        (tmp_path / "model.xml").write_text("")
        with pytest.raises(PredictError, match=r"runtime onnxruntime does not read model\.xml"):
            Model(tmp_path, runtime="onnxruntime")

    @pytest.mark.parametrize(
        ("file", "changes"),
        [
            ("preprocessing.json", {"input_size": [1, 2**40, 2**40]}),
            ("preprocessing.json", {"input_size": "all"}),
            ("preprocessing.json", {"crop_pct": 1e-300}),
            ("preprocessing.json", {"mean": [0.5, "x"]}),
            ("preprocessing.json", {"std": [0.0]}),
            ("preprocessing.json", {"interpolation": ["bicubic"]}),
            ("classes.json", {"count": 10**30}),
            ("classes.json", {"names": {"a": 1}}),
        ],
        ids=str,
    )
    def test_settings_that_no_export_writes(self, tmp_path: Path, file: str, changes: dict[str, Any]) -> None:
        self.describe(tmp_path)
        document = json.loads((tmp_path / file).read_text())
        (tmp_path / file).write_text(json.dumps({**document, **changes}))
        with pytest.raises(PredictError, match=rf"{file}: {next(iter(changes))} cannot be used"):
            Model(tmp_path)

    def test_settings_that_are_nested_too_deep(self, tmp_path: Path) -> None:
        self.describe(tmp_path)
        (tmp_path / "classes.json").write_text("[" * 100_000)
        with pytest.raises(PredictError, match=r"classes\.json cannot be read"):
            Model(tmp_path)

    def test_a_runtime_that_would_compute_something_else(self, tmp_path: Path) -> None:
        self.describe(tmp_path)
        (tmp_path / "preprocessing.json").write_text(
            json.dumps({**SETTINGS, "runtime": "onnxruntime", "runtimes": ["onnxruntime"]})
        )
        (tmp_path / "model.onnx").write_text("no model")
        with pytest.raises(
            PredictError, match="openvino does not compute this model as it was evaluated: choose onnxruntime"
        ):
            Model(tmp_path, runtime="openvino")

    def test_runtimes_that_are_not_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.describe(tmp_path)
        (tmp_path / "model.onnx").write_text("no model")
        monkeypatch.setattr(predict.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(PredictError, match="openvino is not installed: pip install openvino"):
            Model(tmp_path)
        monkeypatch.undo()
        for runtime in ("onnxruntime", "openvino"):
            pytest.importorskip(runtime)
            with pytest.raises(PredictError, match=f"{runtime} cannot load .*model.onnx"):
                Model(tmp_path, runtime=runtime)


class TestDecisions:
    def model(self, names: list[str], several: bool) -> Model:
        found = Model.__new__(Model)
        found.names, found.several = names, several
        return found

    def test_one_class(self) -> None:
        logits = np.array([1.0, 3.0, 3.0, -2.0], dtype=np.float32)
        found = self.model(["a", "b", "c", "d"], several=False).decide(logits, top=3)
        assert [(guess.name, guess.decided) for guess in found] == [("b", True), ("c", False), ("a", False)]
        powers = np.exp(logits.astype(np.float64))
        assert found[0].probability == pytest.approx(powers[1] / powers.sum())

    def test_any_number_of_labels(self) -> None:
        logits = np.array([1.0, 3.0, -800.0, 0.1, 900.0], dtype=np.float32)
        found = self.model(["a", "b", "c", "d", "e"], several=True).decide(logits, top=1)
        # All that are given are told, however few are asked for.
        assert [(guess.name, guess.decided) for guess in found] == [(name, True) for name in "ebad"]
        assert found[1].probability == pytest.approx(1.0 / (1.0 + np.exp(-3.0)))
        assert not self.model(["a"], several=True).decide(np.zeros(1, dtype=np.float32))[0].decided


class TestFacts:
    encoders = (EncoderLayers(0, "blocks.0", ("mlp.fc1",)),)
    config = BitConfig.uniform("deit_tiny_patch16_224", "deploy", encoders, (8, 8, 8))

    def document(self, **provenance: object) -> dict[str, Any]:
        preprocessing = {name: list(v) if isinstance(v, tuple) else v for name, v in SETTINGS.items()}
        known = {"preprocessing": preprocessing, "bitfront": "1.2", "class_names": ["tench, Tinca", "é"]}
        return self.config.to_json({}, {**known, **provenance})

    def test_one_to_a_key(self) -> None:
        found = metadata_of(self.document(whole_number_bits=12))
        assert json.loads(found.pop("classes")) == ["tench, Tinca", "é"]
        sentence = found.pop("preprocessing")
        assert "shorter side is resized to 35 pixels by pillow's bicubic" in sentence
        assert found == {
            "version": "1.2",
            "model": "deit_tiny_patch16_224",
            "scheme": "deploy",
            "config": self.config.digest,
            "task": "classification",
            "input_name": "images",
            "input_layout": "NCHW",
            "input_shape": "batch,3,32,32",
            "input_dtype": "float32",
            "input_colour": "RGB",
            "input_range": "-2.117904,2.64",
            "output_name": "logits",
            "resize": "35,35",
            "interpolation": "bicubic",
            "crop_mode": "center",
            "crop_pct": "0.9",
            "mean": "0.485,0.456,0.406",
            "std": "0.229,0.224,0.225",
            "whole_number_bits": "12",
        }

    def test_documents_that_say_little(self) -> None:
        assert ServingFacts.of_document(self.config.to_json()) is None
        assert set(metadata_of(self.config.to_json())) == {"model", "scheme", "config"}

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"crop_mode": "squash"}, "it is resized to 35 rows and 35 columns"),
            ({"crop_mode": "border"}, "to fit into 35 rows and 35 columns"),
            ({"input_size": (3, 32, 64)}, "to cover 35 rows and 71 columns"),
        ],
    )
    def test_steps(self, changes: dict[str, Any], words: str) -> None:
        assert words in ServingFacts({**SETTINGS, **changes}).steps[1]
