"""Tiny pipelines of random weights in the layouts of diffusers, and a workbench of one."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bitfront.evaluators.torchvision_shim import ensure_torchvision

ensure_torchvision()
for package in ("diffusers", "nncf", "openvino", "transformers"):
    pytest.importorskip(package, reason=f"{package} is of the extra `generation`")

from bitfront.evaluators.generation.class_pipeline import ClassPipeline  # noqa: E402
from bitfront.evaluators.generation.jobs import Sampling, jobs_of  # noqa: E402
from bitfront.evaluators.generation.workbench import Workbench  # noqa: E402

FORMATS = ("int4w", "int8", "int8w", "bf16", "fp32")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def autoencoder(channels: int = 1) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=8,
    )


def class_parts() -> tuple[Any, Any, Any]:
    """Transformer, autoencoder and scheduler; the weights are far enough from 0 for formats to tell."""
    from diffusers import DDIMScheduler, DiTTransformer2DModel

    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        sample_size=4,
        patch_size=2,
        num_embeds_ada_norm=3,
        norm_elementwise_affine=False,
    )
    vae = autoencoder()
    with torch.no_grad():
        for module in (transformer, vae):
            module.eval().requires_grad_(False)
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return transformer, vae, DDIMScheduler(clip_sample=False)


def class_pipeline() -> ClassPipeline:
    return ClassPipeline("tiny", *class_parts(), Sampling(2, 2.0))


@functools.cache
def class_bench() -> Workbench:
    """A workbench of two pictures, prepared; nobody may change it."""
    pipeline = class_pipeline()
    jobs, calibration = jobs_of(pipeline.conditions[:2], (1,)), jobs_of(pipeline.conditions[:1], (2,))
    bench = Workbench(pipeline, jobs, calibration, pipeline.sampling, FORMATS)
    bench.prepare()
    return bench


def save_class_pipeline(folder: Path) -> Path:
    from diffusers import DiTPipeline

    DiTPipeline(*class_parts()).save_pretrained(folder)
    return folder


def save_text_pipeline(folder: Path) -> Path:
    """Stable Diffusion in its real layout, as small as its classes allow."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    ends = ["<|startoftext|>", "<|endoftext|>"]
    words = {word: i for i, word in enumerate([*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *ends])}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8)
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=8, projection_dim=8,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    seen = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 16, "patch_size": 8,
    }  # fmt: skip
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(text_config=text.to_dict(), vision_config=seen, projection_dim=8)
    )
    with torch.no_grad():  # thresholds that nothing is beyond
        checker.concept_embeds_weights.fill_(2.0)
        checker.special_care_embeds_weights.fill_(2.0)
    StableDiffusionPipeline(
        vae=autoencoder(3),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=checker,
        feature_extractor=CLIPImageProcessor(),
    ).save_pretrained(folder)
    return folder
