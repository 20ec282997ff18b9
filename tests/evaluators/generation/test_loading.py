"""Loading: pipelines of diffusers in their real layouts, and what each missing part is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from generation_cases import autoencoder, save_class_pipeline, save_text_pipeline

from bitfront.evaluators.generation.jobs import Sampling, jobs_of
from bitfront.evaluators.generation.loading import load_pipeline
from bitfront.spaces import UserError


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_pipeline(tmp_path_factory.mktemp("pipelines") / "stable")


def test_stable_diffusion_loads_by_component(saved: Path) -> None:
    pipeline = load_pipeline(str(saved))
    assert [part.name for part in pipeline.parts] == ["unet", "vae", "text_encoder", "safety_checker"]
    assert pipeline.parts[0].genes[:2] == ("unet.down_blocks.0", "unet.down_blocks.1")
    calls = {part.name: part.module for part in pipeline.parts}
    with torch.inference_mode():
        pictures = pipeline.pictures(calls, jobs_of([("a", "a")], (1, 2)), Sampling(2, 7.5))
    assert pictures.shape == (2, 3, 16, 16)
    assert not torch.equal(pictures[0], pictures[1])


def test_text_pipelines_need_prompts(saved: Path) -> None:
    with pytest.raises(UserError, match="--prompts"):
        load_pipeline(str(saved)).checked(())


@pytest.mark.parametrize("part", ["vae", "tokenizer", "safety_checker"])
def test_a_missing_part_gets_one_line(saved: Path, tmp_path: Path, part: str) -> None:
    folder = tmp_path / "lacking"
    shutil.copytree(saved, folder)
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=f"has no {part}, which a StableDiffusionPipeline needs"):
        load_pipeline(str(folder))


def test_parts_without_weights_get_one_line(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lacking"
    shutil.copytree(saved, folder)
    next((folder / "unet").glob("*.safetensors")).unlink()
    with pytest.raises(UserError, match="unet has no weights"):
        load_pipeline(str(folder))


def test_classes_are_checked(tmp_path: Path) -> None:
    pipeline = load_pipeline(str(save_class_pipeline(tmp_path / "dit")))
    assert [part.name for part in pipeline.parts] == ["transformer", "vae"]
    assert len(pipeline.conditions) == 3
    with pytest.raises(UserError, match="numbers from 0 to 2"):
        pipeline.checked([("class 3", 3)])


def test_an_autoencoder_alone(tmp_path: Path) -> None:
    autoencoder(3).save_pretrained(tmp_path / "vae")
    pipeline = load_pipeline(str(tmp_path / "vae"), side=16)
    assert pipeline.parts[1].genes[:2] == ("decoder.decoder.up_blocks.0", "decoder.decoder.up_blocks.1")
    with pytest.raises(UserError, match="--photographs"):
        pipeline.checked(())


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_what_is_no_pipeline_gets_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no pipeline"):
        load_pipeline(place)
