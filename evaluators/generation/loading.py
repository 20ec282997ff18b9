"""Pipelines by name: the embedded example, folders of diffusers, autoencoders, or a name on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bitfront.evaluators.files import readable
from bitfront.evaluators.generation import digits_dit
from bitfront.evaluators.generation.autoencoder_pipeline import AutoencoderPipeline, blocks_of
from bitfront.evaluators.generation.class_pipeline import ClassPipeline
from bitfront.evaluators.generation.jobs import Sampling
from bitfront.evaluators.generation.parts import Decoder, Encoder, numbered_blocks
from bitfront.evaluators.generation.pipeline import Pipeline
from bitfront.evaluators.generation.quiet import quiet
from bitfront.evaluators.generation.taesd import is_tiny, load_tiny
from bitfront.evaluators.generation.text_pipeline import TextPipeline
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

INDEX, CONFIG = "model_index.json", "config.json"
CLASSES, TEXTS = ("DiTPipeline",), ("StableDiffusionPipeline",)
AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
# What pictures cannot be made without, by the kind of pipeline.
_NEEDED = {
    **dict.fromkeys(CLASSES, ("transformer", "vae", "scheduler")),
    **dict.fromkeys(TEXTS, ("unet", "vae", "text_encoder", "tokenizer", "scheduler")),
}
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_WITHOUT_WEIGHTS = ("tokenizer", "scheduler", "feature_extractor")
USUAL_SIDE = 224


def load_pipeline(place: str, side: int = USUAL_SIDE) -> Pipeline:
    """The pipeline that a text names, in float32 on the CPU; of diffusers' weights, safetensors alone.

    Args:
        place: ``digits_dit``, a file of weights of it, a folder, or a name on the hub such as ``owner/name``.
        side: Pixels of a side of photographs that an autoencoder codes.

    Raises:
        UserError: There is no such pipeline, a part of it is missing, or diffusers is not installed.
    """
    check_installed()
    path = Path(place)
    if place == digits_dit.NAME:
        return _embedded(None)
    if path.is_file():
        return _embedded(path)
    if not path.is_dir():
        return _loaded(place, _from_hub(place))
    if (path / INDEX).is_file():
        kind = _check_parts(path)
        return _loaded(path.resolve().name, _diffusers(kind, path))
    if is_tiny(path):
        return load_tiny(path, side)
    if (path / CONFIG).is_file():
        return _autoencoder(path, side)
    raise UserError(
        f"{path} is no pipeline: expected {INDEX} of diffusers, {CONFIG} of an autoencoder, or the weights "
        "of a tiny one, NAME_encoder.pth and NAME_decoder.pth"
    )


def check_installed() -> None:
    """Raises :class:`UserError` where diffusers or OpenVINO is not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("diffusers", "transformers", "openvino") if find_spec(name) is None]
    if missing:
        raise UserError(f"pictures need {' and '.join(missing)}: pip install 'bitfront[generation]'")


def _embedded(path: Path | None) -> ClassPipeline:
    transformer, vae = digits_dit.load_parts(path)
    name = digits_dit.NAME if path is None else path.stem
    return ClassPipeline(name, transformer, vae, digits_dit.scheduler(), Sampling(20, digits_dit.GUIDANCE))


def _check_parts(folder: Path) -> str:
    """The class of a saved pipeline, all of whose parts are there.

    Raises:
        UserError: It is of an unknown class, or a part is missing.
    """
    index = _read(folder / INDEX)
    kind = str(index.get("_class_name", "none"))
    if kind not in _NEEDED:
        raise UserError(
            f"{folder} is a {kind}, and pictures are made by {', '.join(_NEEDED)}: give one of these, or the "
            "folder of its autoencoder"
        )
    named = {name: entry for name, entry in index.items() if isinstance(entry, list) and entry and entry[0]}
    for name in (*_NEEDED[kind], *(name for name in named if name not in _NEEDED[kind])):
        inside = folder / name
        if name not in named or not inside.is_dir():
            raise UserError(f"{folder} has no {name}, which a {kind} needs: save the whole pipeline again")
        weighted = name not in _WITHOUT_WEIGHTS
        if weighted and not any(file for pattern in _WEIGHTS for file in inside.glob(pattern)):
            raise UserError(
                f"{inside} has no weights: expected a .safetensors file, as save_pretrained writes it"
            )
    return kind


def _read(path: Path) -> dict[str, Any]:
    try:
        with readable(path):
            found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({one_line(error, 80)}): restore it") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged (expected a JSON object): restore it")
    return found


def _diffusers(kind: str, folder: Path) -> Any:
    ensure_torchvision()
    import diffusers

    try:
        with quiet():
            return getattr(diffusers, kind).from_pretrained(
                folder, use_safetensors=True, local_files_only=True
            )
    except Exception as error:  # what diffusers raises depends on what is wrong
        raise UserError(
            f"{folder} cannot be loaded as {kind} ({one_line(error, 160)}): save it again"
        ) from error


def _from_hub(name: str) -> Any:
    if name.count("/") != 1 or name.startswith(("/", ".")):
        raise UserError(
            f"there is no pipeline {name!r}: give {digits_dit.NAME}, a folder, a file of weights of "
            f"{digits_dit.NAME}, or a name on the hub such as owner/name"
        )
    ensure_torchvision()
    from diffusers import DiffusionPipeline

    try:
        with quiet():
            return DiffusionPipeline.from_pretrained(name, use_safetensors=True)
    except Exception as error:
        raise UserError(
            f"{name} is neither a folder nor found on the hub ({one_line(error, 120)})"
        ) from error


def _loaded(name: str, pipeline: Any) -> Pipeline:
    kind = type(pipeline).__name__
    plain = name.rpartition("/")[2]
    for module in pipeline.components.values():
        if hasattr(module, "requires_grad_"):
            module.eval().float().requires_grad_(False)
    if kind in CLASSES:
        return ClassPipeline(plain, pipeline.transformer, pipeline.vae, pipeline.scheduler)
    if kind in TEXTS:
        return TextPipeline(plain, pipeline)
    raise UserError(f"{name} is a {kind}, and pictures are made by {', '.join(_NEEDED)}: give one of these")


def _autoencoder(folder: Path, side: int) -> AutoencoderPipeline:
    kind = str(_read(folder / CONFIG).get("_class_name", "none"))
    if kind not in AUTOENCODERS:
        raise UserError(
            f"{folder} is a {kind}, and autoencoders are {', '.join(AUTOENCODERS)}: give one of these"
        )
    module = _diffusers(kind, folder).eval().float().requires_grad_(False)
    encoder, decoder = Encoder(module), Decoder(module)
    if kind == "AutoencoderTiny":
        blocks = blocks_of(encoder, "module.encoder.layers"), blocks_of(decoder, "module.decoder.layers")
    else:
        blocks = (
            tuple(
                path.replace("module.", "module.encoder.")
                for path in numbered_blocks(module.encoder, ("down_blocks",), ("mid_block",))
            ),
            tuple(
                path.replace("module.", "module.decoder.")
                for path in numbered_blocks(module.decoder, ("up_blocks",), ("mid_block",))
            ),
        )
    channels = int(module.config.in_channels)
    return AutoencoderPipeline(
        folder.resolve().name,
        (encoder, blocks[0]),
        (decoder, blocks[1]),
        signed=True,
        channels=channels,
        side=side,
    )
