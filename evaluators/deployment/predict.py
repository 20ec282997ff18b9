"""Classifies images with the model beside this file; needs the model's runtime, numpy and pillow alone.

On the command line:

    python predict.py photo.jpg            # the likeliest classes and their probabilities
    python predict.py --json *.jpg         # the same for machines

From Python:

    from predict import Model

    model = Model()
    for guess in model.predict("photo.jpg"):
        print(guess.name, guess.probability)

What is done to an image before the model sees it stands in preprocessing.json, what the outputs are in
classes.json. This file may be changed and copied freely.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

try:
    import numpy as np
    from PIL import Image, ImageOps
except ImportError as missing:
    if __name__ != "__main__":
        raise
    raise SystemExit(f"error: {missing.name} is not installed: pip install numpy pillow") from None

# What reads a file, the usual one first.
RUNTIMES = {"model.onnx": ("onnxruntime", "openvino"), "model.xml": ("openvino",)}
BATCH = 8
LARGEST_ASPECT = 64
_SETTINGS = ("runtime", "input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
# Where PIL keeps them in a TIFF file: the bits of a sample and its largest value.
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281
# Whole numbers from here on are of 16 bits, where it is not known of how many they are.
_SURELY_16 = 1 << 14
_LARGEST_SIDE, _MOST_CLASSES = 8192, 10**7
Array = Any  # numpy arrays, in all versions of numpy


class PredictError(Exception):
    """What keeps an image from being classified, in one line."""


@dataclass(frozen=True)
class Prediction:
    """What the model thinks of one class.

    Attributes:
        index: Position among the outputs.
        name: Of the class; the index as text where names are not known.
        probability: From 0 to 1.
        decided: Whether the model decides for it: the likeliest class, or every label above a half where an
            image may have several.
    """

    index: int
    name: str
    probability: float
    decided: bool


class Model:
    """The model of a folder that ``bitfront export`` wrote."""

    def __init__(
        self, folder: str | Path | None = None, *, runtime: str | None = None, threads: int | None = None
    ) -> None:
        """Loads it.

        Args:
            folder: The folder; None for the one that this file is in.
            runtime: ``onnxruntime`` or ``openvino``; None for the one that the model was written for.
            threads: Of one inference; None leaves it to the runtime.

        Raises:
            PredictError: A file is missing or damaged, or the runtime is not installed.
        """
        self.folder = Path(__file__).parent if folder is None else Path(folder)
        self.preprocessing = _document(self.folder / "preprocessing.json", *_SETTINGS)
        classes = _document(self.folder / "classes.json", "count", "names", "several")
        _check(self.folder, self.preprocessing, classes)
        self.names = classes["names"] or [str(index) for index in range(classes["count"])]
        if len(self.names) != classes["count"]:
            raise PredictError(
                f"{self.folder / 'classes.json'} has {len(self.names)} names for {classes['count']} outputs"
            )
        self.several = bool(classes["several"])
        self._run = _session(self.folder, self.preprocessing, runtime, threads)

    def prepare(self, image: str | Path | Image.Image) -> Array:
        """What the model is given of an image: float32 ``[channels, rows, columns]``.

        Raises:
            PredictError: The image cannot be read or used.
        """
        settings = self.preprocessing
        pixels = image_pixels(image, settings)
        # Scaled before they are rounded to float32: the last bit differs otherwise.
        mean, std = (
            np.array([255.0 * value for value in settings[name]], dtype=np.float32).reshape(-1, 1, 1)
            for name in ("mean", "std")
        )
        return (pixels.astype(np.float32) - mean) / std

    def logits(self, images: Sequence[str | Path | Image.Image], batch: int = BATCH) -> Array:
        """The outputs of the model, float32 ``[images, classes]``."""
        found = [
            self._run(np.stack([self.prepare(image) for image in images[start : start + batch]]))
            for start in range(0, len(images), batch)
        ]
        return np.concatenate(found) if found else np.empty((0, len(self.names)), dtype=np.float32)

    def predict(self, image: str | Path | Image.Image, top: int = 5) -> list[Prediction]:
        """The likeliest classes of an image, the likeliest first, and all that are decided for.

        Raises:
            PredictError: The image cannot be read or used.
        """
        return self.decide(self.logits([image])[0], top)

    def decide(self, logits: Array, top: int = 5) -> list[Prediction]:
        """The same of the outputs for one image, ``[classes]``."""
        values = logits.astype(np.float64)
        if self.several:
            probabilities, decided = 0.5 * (1.0 + np.tanh(0.5 * values)), values > 0.0
        else:
            powers = np.exp(values - values.max())
            probabilities, decided = powers / powers.sum(), np.arange(len(values)) == values.argmax()
        order = np.argsort(-values, kind="stable")
        return [
            Prediction(int(index), self.names[index], float(probabilities[index]), bool(decided[index]))
            for position, index in enumerate(order)
            if position < top or decided[index]
        ]


def image_pixels(image: str | Path | Image.Image, settings: Mapping[str, Any]) -> Array:
    """An image resized and cropped as the settings say, uint8 ``[channels, rows, columns]``.

    Orientation tags (EXIF) are not applied, as they were not when the model was evaluated.

    Raises:
        PredictError: The image cannot be read or used.
    """
    name = "the image" if isinstance(image, Image.Image) else str(image)
    channels, height, width = settings["input_size"]
    opened, declared = _decoded(image, name)
    if max(opened.size) > LARGEST_ASPECT * min(opened.size):
        raise PredictError(f"{name}: {opened.width}x{opened.height} pixels is too elongated to be resized")
    bits = declared or settings.get("whole_number_bits")
    opened = _with_channels(opened, "L" if channels == 1 else "RGB", name, bits)
    scale = [math.floor(side / settings["crop_pct"]) for side in (height, width)]
    ratios = [opened.height / scale[0], opened.width / scale[1]]
    mode, fill = settings["crop_mode"], (0,) * channels
    if mode == "squash":
        rows, columns = scale
    elif mode == "border":
        rows, columns = (round(side / max(ratios)) for side in (opened.height, opened.width))
        fill = tuple(round(255 * value) for value in settings["mean"])
    elif scale[0] == scale[1]:
        short, long = sorted(opened.size)
        longer = int(scale[0] * long / short)
        rows, columns = (longer, scale[0]) if opened.width <= opened.height else (scale[0], longer)
    else:
        rows, columns = (round(side / min(ratios)) for side in (opened.height, opened.width))
    resample = Image.Resampling[settings["interpolation"].upper()]
    cropped = _centre(opened.resize((columns, rows), resample), height, width, fill)
    pixels = np.asarray(cropped, dtype=np.uint8).reshape(height, width, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _centre(image: Image.Image, height: int, width: int, fill: tuple[int, ...]) -> Image.Image:
    """The middle of an image, with borders where it is smaller."""
    over = [max(0, width - image.width), max(0, height - image.height)]
    if any(over):
        border = (over[0] // 2, over[1] // 2, (over[0] + 1) // 2, (over[1] + 1) // 2)
        image = ImageOps.expand(image, border, fill if len(fill) > 1 else fill[0])
    top, left = round((image.height - height) / 2.0), round((image.width - width) / 2.0)
    return image.crop((left, top, left + width, top + height))


def _decoded(image: str | Path | Image.Image, name: str) -> tuple[Image.Image, int | None]:
    """An image read completely, and the bits that its file declares."""
    try:
        if isinstance(image, Image.Image):
            image.load()
            return image, _declared_bits(image)
        if Path(image).exists() and not Path(image).is_file():
            raise PredictError(f"{name}: not a plain file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(image) as opened:
                opened.load()
                return opened.copy(), _declared_bits(opened)
    except PredictError:
        raise
    except FileNotFoundError:
        raise PredictError(f"{name}: no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PredictError(f"{name}: more than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ... on damaged input
        reason = " ".join(str(error).split()) or type(error).__name__
        unknown = "cannot identify image file" in reason
        raise PredictError(f"{name}: {'not an image file' if unknown else reason}") from None


def _with_channels(image: Image.Image, mode: str, name: str, bits: int | None) -> Image.Image:
    """An image of 8 bits in mode ``L`` or ``RGB``: wider samples keep their upper 8, alpha is dropped."""
    if image.mode == "F":
        raise PredictError(f"{name}: floating-point pixels, of a range that is not known: save 8 bits")
    if image.mode.startswith("I"):  # PIL itself would clip them at 255
        values = np.asarray(image).astype(np.int64)
        bits = bits or (16 if values.max() >= _SURELY_16 else None)
        if bits is None or values.min() < 0 or values.max() >= 1 << bits:
            raise PredictError(
                f"{name}: whole numbers from {values.min()} to {values.max()}, of a range that is not known: "
                "save it with 8 bits"
            )
        image = Image.fromarray((values >> max(0, bits - 8)).astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    try:
        return image if image.mode == mode else image.convert(mode)
    except ValueError as error:
        raise PredictError(f"{name}: {error}") from None


def _declared_bits(image: Image.Image) -> int | None:
    """The bits of whole numbers that a file says it holds, where they are not those of its container."""
    if not image.mode.startswith("I"):
        return None
    if image.format == "PPM":
        return 16  # to which PIL scales every range
    tags = getattr(image, "tag_v2", {})
    bits, largest = tags.get(_BITS_PER_SAMPLE), tags.get(_MAX_SAMPLE_VALUE)
    if isinstance(largest, tuple):
        (largest, *_) = (*largest, None)
    if isinstance(largest, int) and largest > 0:
        return min(largest.bit_length(), 16)
    return int(bits[0]) if isinstance(bits, tuple) and bits and 8 < bits[0] < 16 else None


def _document(path: Path, *keys: str) -> dict[str, Any]:
    """A JSON object beside the model, which has some keys."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in keys if key not in found]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise PredictError(f"{path} cannot be read ({error}): restore the exported folder") from None
    if missing:
        raise PredictError(f"{path} does not say {', '.join(missing)}: restore the exported folder")
    return found


def _check(folder: Path, settings: Mapping[str, Any], classes: Mapping[str, Any]) -> None:
    """Refuses what no export writes: the folder may be anybody's, and sizes are memory."""
    size, names, statistics = settings["input_size"], classes["names"], (settings["mean"], settings["std"])
    known = {
        "input_size": _numbers(size, 1, _LARGEST_SIDE, whole=True) and len(size) == 3,
        "mean": all(_numbers(values, -1e6, 1e6) and len(values) in (1, 3) for values in statistics),
        "std": _numbers(statistics[1], 1e-12, 1e6),
        "crop_pct": _numbers([settings["crop_pct"]], 0.05, 4),
        "crop_mode": isinstance(settings["crop_mode"], str),
        "interpolation": str(settings["interpolation"]).upper() in Image.Resampling.__members__,
        "runtimes": settings.get("runtimes") is None or isinstance(settings["runtimes"], list),
        "count": _numbers([classes["count"]], 1, _MOST_CLASSES, whole=True),
        "names": names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names)),
    }
    wrong = [key for key, right in known.items() if not right]
    if wrong:
        file = "classes.json" if wrong[0] in classes else "preprocessing.json"
        raise PredictError(f"{folder / file}: {wrong[0]} cannot be used: restore the exported folder")


def _numbers(values: object, least: float, most: float, whole: bool = False) -> bool:
    kinds = (int,) if whole else (int, float)
    return isinstance(values, list) and all(type(v) in kinds and least <= v <= most for v in values)


def _session(
    folder: Path, settings: Mapping[str, Any], asked: str | None, threads: int | None
) -> Callable[..., Array]:
    """What gives logits ``[images, classes]`` of float32 images ``[images, channels, rows, columns]``."""
    name = next((name for name in RUNTIMES if (folder / name).is_file()), None)
    if name is None:
        raise PredictError(f"{folder} has no {' or '.join(RUNTIMES)}: restore the exported folder")
    # A runtime may read a file and compute it otherwise, such as what is exact in float64.
    right = settings.get("runtimes") or RUNTIMES[name]
    known = [runtime for runtime in RUNTIMES[name] if runtime in right]
    if asked is not None and asked not in known:
        does = "compute this model as it was evaluated" if asked in RUNTIMES[name] else f"read {name}"
        raise PredictError(f"runtime {asked} does not {does}: choose {' or '.join(known)}")
    wanted = (asked,) if asked else sorted(known, key=lambda runtime: runtime != settings.get("runtime"))
    found = next((runtime for runtime in wanted if importlib.util.find_spec(runtime)), None)
    if found is None:
        raise PredictError(f"{wanted[0]} is not installed: pip install {wanted[0]}")
    return (_onnxruntime if found == "onnxruntime" else _openvino)(folder / name, threads)


def _onnxruntime(path: Path, threads: int | None) -> Callable[..., Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this one
        raise PredictError(f"onnxruntime cannot load {path} ({_first_line(error)})") from None
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _openvino(path: Path, threads: int | None) -> Callable[..., Array]:
    import openvino

    # Left to itself, OpenVINO computes in bfloat16 what is not quantized, where the processor can.
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        model = openvino.Core().compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise PredictError(f"openvino cannot load {path} ({_first_line(error)})") from None
    return lambda images: np.array(model(images)[0])


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def _classified(
    model: Model, images: Sequence[str], top: int, batch: int
) -> Iterator[tuple[str, list[Prediction] | str]]:
    """For each image its predictions, or why there are none."""
    for start in range(0, len(images), batch):
        part, prepared, faults = images[start : start + batch], {}, {}
        for position, image in enumerate(part):
            try:
                prepared[position] = model.prepare(image)
            except PredictError as error:
                faults[position] = str(error)
        logits = model._run(np.stack(list(prepared.values()))) if prepared else ()
        rows = dict(zip(prepared, logits, strict=True))
        for position, image in enumerate(part):
            yield image, faults.get(position) or model.decide(rows[position], top)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Classifies the images named on the command line; the status is 2 where one of them cannot be."""
    parser = argparse.ArgumentParser(description="Classifies images with the model beside this file.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="an image file")
    parser.add_argument("--top", type=_at_least_one, default=5, metavar="N", help="classes shown (5)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--runtime", choices=("onnxruntime", "openvino"), help="what runs the model")
    parser.add_argument("--threads", type=_at_least_one, metavar="N", help="of an inference (all)")
    parser.add_argument(
        "--batch", type=_at_least_one, default=BATCH, metavar="N", help=f"images at once ({BATCH})"
    )
    args = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of classes in terminals of any encoding
    documents: list[dict[str, Any]] = []
    status = 0
    try:
        model = Model(runtime=args.runtime, threads=args.threads)
    except PredictError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for image, found in _classified(model, args.images, args.top, args.batch):
        if isinstance(found, str):
            status = 2
            print(f"error: {found}", file=sys.stderr)
            documents.append({"image": image, "error": found})
            continue
        documents.append({"image": image, "predictions": [asdict(guess) for guess in found]})
        if not args.json:
            print(image)
            for guess in found:
                print(f"  {'*' if guess.decided else ' '} {100.0 * guess.probability:6.2f} %  {guess.name}")
    if args.json:
        print(json.dumps(documents, indent=2))
    return status


if __name__ == "__main__":
    sys.exit(main())
