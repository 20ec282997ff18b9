"""Keys of preparations: every input counts, nothing else does, and other processes agree."""

from __future__ import annotations

import copy
import dataclasses
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitfront import evaluators, spaces
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.preparation.store.fingerprint import fingerprint, preparation_key, sources_digest

SETTINGS = {"scheme": "fq-vit", "widths": (4, 8), "recipe": ["a", "b"], "damping": 0.01, "observer": None}


def calibration_images(images: int = 3, side: int = 8) -> PreprocessedImages:
    pixels = (torch.arange(images * 3 * side * side) % 251).to(torch.uint8).reshape(images, 3, side, side)
    return PreprocessedImages(
        pixels, torch.zeros(images, dtype=torch.int64), np.arange(images), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
    )


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every tensor and scalar of a blueprint with the steps that lead to it."""
    if dataclasses.is_dataclass(value):
        steps = [field.name for field in dataclasses.fields(value)]
        for name in steps:
            yield from leaves(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    elif value is not None:
        yield path, value


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The blueprint with another leaf at the end of a path."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{step: replaced(getattr(value, step), rest, new)})
    if isinstance(value, dict):
        return {**value, step: replaced(value[step], rest, new)}
    return tuple(replaced(item, rest, new) if i == step else item for i, item in enumerate(value))


def with_flipped_bit(tensor: torch.Tensor, seed: int) -> torch.Tensor:
    """A copy of a tensor with one bit of its memory changed, by chance."""
    content = tensor.detach().clone(memory_format=torch.contiguous_format)
    if tensor.dtype == torch.bool:
        content.view(-1)[seed % content.numel()] ^= True
        return content
    octets = content.view(-1).view(torch.uint8)
    rng = np.random.default_rng(seed)
    octets[int(rng.integers(octets.numel()))] ^= 1 << int(rng.integers(8))
    return content


def changed(leaf: Any, seed: int) -> Any:
    if isinstance(leaf, torch.Tensor):
        return with_flipped_bit(leaf, seed) if leaf.numel() else leaf.new_zeros(1)
    if isinstance(leaf, bool):
        return not leaf
    if isinstance(leaf, float):
        return float(np.nextafter(leaf, np.inf))
    return leaf + 1 if isinstance(leaf, int) else f"{leaf}'"


def test_a_key_is_64_hexadecimal_digits_and_repeats_itself(blueprint: Blueprint) -> None:
    key = preparation_key(blueprint, calibration_images(), SETTINGS)
    assert re.fullmatch(r"[0-9a-f]{64}", key)
    assert key == preparation_key(copy.deepcopy(blueprint), calibration_images(), copy.deepcopy(SETTINGS))


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_every_tensor_and_scalar_of_the_blueprint_counts(
    family: str, blueprint: Blueprint, small_swin: Callable[..., torch.nn.Module]
) -> None:
    float_model = blueprint if family == "vit" else blueprint_of("swin", small_swin(0))
    images = calibration_images()
    found = list(leaves(float_model))
    assert len(found) > 50
    keys = {preparation_key(float_model, images, {})}
    for seed, (path, leaf) in enumerate(found):
        keys.add(preparation_key(replaced(float_model, path, changed(leaf, seed)), images, {}))
    assert len(keys) == len(found) + 1


def test_parts_that_are_there_or_not_count(blueprint: Blueprint) -> None:
    images = calibration_images()
    without = dataclasses.replace(blueprint, positions=None)
    shorter = dataclasses.replace(blueprint, encoders=blueprint.encoders[:-1])
    keys = {preparation_key(model, images, {}) for model in (blueprint, without, shorter)}
    assert len(keys) == 3


def test_pixels_their_order_and_their_normalisation_count(blueprint: Blueprint) -> None:
    images = calibration_images()
    variants = [
        images,
        *(dataclasses.replace(images, pixels=with_flipped_bit(images.pixels, seed)) for seed in range(5)),
        dataclasses.replace(images, pixels=images.pixels.flip(0)),
        dataclasses.replace(images, pixels=images.pixels[:2]),
        dataclasses.replace(images, pixels=images.pixels.reshape(3, 3, 4, 16)),
        dataclasses.replace(images, mean=(0.5, 0.4, 0.31)),
        dataclasses.replace(images, std=(0.2, 0.2, 0.21)),
    ]
    assert len({preparation_key(blueprint, variant, {}) for variant in variants}) == len(variants)


def test_labels_and_positions_in_the_source_do_not_count(blueprint: Blueprint) -> None:
    images = calibration_images()
    other = dataclasses.replace(images, labels=images.labels + 1, indices=images.indices + 7)
    assert preparation_key(blueprint, images, {}) == preparation_key(blueprint, other, {})


def test_every_setting_counts_but_not_their_order(blueprint: Blueprint) -> None:
    images = calibration_images()
    variants: list[dict[str, Any]] = [
        SETTINGS,
        {**SETTINGS, "scheme": "deploy"},
        {**SETTINGS, "widths": (8, 4)},
        {**SETTINGS, "recipe": ["a"]},
        {**SETTINGS, "damping": 0.010000000000000002},
        {**SETTINGS, "observer": "minmax"},
        {**SETTINGS, "torch": "2.8"},
        {name: value for name, value in SETTINGS.items() if name != "observer"},
    ]
    assert len({preparation_key(blueprint, images, settings) for settings in variants}) == len(variants)
    backwards = dict(reversed(SETTINGS.items()))
    assert preparation_key(blueprint, images, backwards) == preparation_key(blueprint, images, SETTINGS)


@pytest.mark.parametrize(("setting", "error"), [(object(), TypeError), (float("nan"), ValueError)])
def test_settings_that_have_no_json_are_refused(
    blueprint: Blueprint, setting: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        preparation_key(blueprint, calibration_images(), {"setting": setting})


def test_strides_and_devices_do_not_count() -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    expected = fingerprint(tensor)
    assert fingerprint(tensor.t().contiguous().t()) == expected
    assert fingerprint(torch.arange(24.0).reshape(3, 8)[:, :4]) != expected
    assert fingerprint(torch.nn.Parameter(tensor)) == expected
    assert fingerprint(tensor.numpy()) == expected
    assert fingerprint(tensor.numpy().astype(">f4")) == expected


@dataclass(frozen=True)
class One:
    first: object = 1
    second: object = 2


@dataclass(frozen=True)
class Other:
    first: object = 1
    second: object = 2


def test_different_values_are_never_written_alike() -> None:
    values: list[object] = [
        None, False, True, 0, 1, -1, 10**30, 0.0, -0.0, 1.0, float("nan"), float("inf"), 5e-324,
        "", "1", "None", [], [[]], [1, 2], [12], ["1", "2"], ["12", ""], ["1", ["2"]],
        ["1str:2", ""], ["1", "2str:"],
        {}, {"a": 1}, {"1": 1}, {1: 1},
        [{"a": 1}, {"b": 2}], {"a": 1, "b": 2}, {"a": {"b": 2}}, One(), Other(), One(2, 1), One(None, 2),
        *(torch.zeros(shape) for shape in ((2,), (2, 1), (1, 2), (), (0,), (0, 3))),
        *(torch.zeros(2, dtype=dtype) for dtype in (torch.float64, torch.bfloat16, torch.int32)),
        *(torch.zeros(2, dtype=dtype) for dtype in (torch.bool, torch.int8, torch.uint8)),
        torch.tensor([0.0, -0.0]),
    ]  # fmt: skip
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize("value", [object(), {1, 2}, {(1,): 2}, np.array(["text"]), One, [1j]])
def test_what_has_no_fingerprint_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no fingerprint of"):
        fingerprint(value)


def known_key() -> str:
    """The key of a model that is written down rather than drawn, for two processes to agree on."""
    part = torch.linspace(-1, 1, 12).reshape(3, 4)
    return preparation_key(
        {"patch": part, "mask": part > 0, "steps": {2: "b", 1: "a"}},  # type: ignore[arg-type]
        calibration_images(),
        SETTINGS,
    )


def test_other_processes_find_the_same_key() -> None:
    script = "import runpy, sys; print(runpy.run_path(sys.argv[1])['known_key']())"
    result = subprocess.run(
        [sys.executable, "-c", script, __file__],
        env={**os.environ, "PYTHONHASHSEED": "4321"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == known_key()


def test_the_key_of_deit_tiny_is_found_quickly(deit_tiny: Blueprint) -> None:
    images = calibration_images(128, 224)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        preparation_key(deit_tiny, images, SETTINGS)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.3


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_tensors_on_a_gpu_count_like_those_on_the_cpu() -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    assert fingerprint(tensor.cuda()) == fingerprint(tensor)


def test_the_sources_are_those_of_both_rooms_that_prepare() -> None:
    rooms = [Path(str(room.__file__)).resolve().parent for room in (evaluators, spaces)]
    assert sources_digest() == sources_digest(*rooms)
    assert sources_digest() != sources_digest(rooms[0])


def test_every_file_of_the_sources_counts(tmp_path: Path) -> None:
    def written(*texts: str) -> str:
        for place, text in zip(("one/a.py", "one/deep/b.py", "two/a.py", "two/notes.md"), texts, strict=True):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_text(text)
        sources_digest.cache_clear()
        return sources_digest(tmp_path / "one", tmp_path / "two")

    first = written("1", "2", "3", "4")
    assert written("1", "2", "3", "changed") == first
    assert (
        len({first, written("x", "2", "3", "4"), written("1", "x", "3", "4"), written("1", "2", "x", "4")})
        == 4
    )
