"""The embedded example: a small class-conditional DiT and autoencoder of scikit-learn's digits."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.spaces import UserError

if TYPE_CHECKING:
    from torch import nn

NAME = "digits_dit"
CLASSES, SIDE, GUIDANCE = 10, 16, 2.0
# Of diffusers' constructors. Peebles and Xie (ICCV 2023): adaptive normalization by time and class.
TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 4, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "num_layers": 4,
    "sample_size": 8, "patch_size": 2, "num_embeds_ada_norm": CLASSES, "norm_elementwise_affine": False,
}  # fmt: skip
AUTOENCODER: dict[str, Any] = {
    "in_channels": 1, "out_channels": 1, "encoder_block_out_channels": (16, 16),
    "decoder_block_out_channels": (16, 16), "num_encoder_blocks": (1, 2), "num_decoder_blocks": (2, 1),
    "latent_channels": 4, "upsampling_scaling_factor": 2,
}  # fmt: skip
SCHEDULER: dict[str, Any] = {
    "beta_schedule": "squaredcos_cap_v2", "clip_sample": False, "timestep_spacing": "leading",
}  # fmt: skip
# What the shipped file holds beside tensors.
SCALING = "scaling_factor"


def new_parts(scaling_factor: float = 1.0) -> tuple[nn.Module, nn.Module]:
    """The transformer and the autoencoder with initial weights from torch's global generator.

    Args:
        scaling_factor: What latents are multiplied by before they are diffused.
    """
    from bitfront.evaluators.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from diffusers import AutoencoderTiny, DiTTransformer2DModel

    return DiTTransformer2DModel(**TRANSFORMER), AutoencoderTiny(**AUTOENCODER, scaling_factor=scaling_factor)


def scheduler() -> Any:
    """DDIM (Song et al. 2021) over the steps that the transformer was trained on."""
    from bitfront.evaluators.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from diffusers import DDIMScheduler

    return DDIMScheduler(**SCHEDULER)


def load_parts(path: Path | None = None) -> tuple[nn.Module, nn.Module]:
    """The trained transformer and autoencoder, float32, in evaluation mode.

    Args:
        path: A file that ``bitfront train --model digits_dit`` wrote; None for the shipped one.

    Raises:
        UserError: The file is none of these.
    """
    from safetensors import SafetensorError, safe_open

    place = path or Path(
        str(resources.files("bitfront.evaluators.generation") / f"weights/{NAME}.safetensors")
    )
    try:
        with safe_open(place, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        parts = new_parts(float(facts[SCALING]))
        for prefix, module in zip(("transformer.", "vae."), parts, strict=True):
            own = {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}
            module.load_state_dict(own)
            module.eval().requires_grad_(False)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{place} holds no weights of {NAME} ({type(error).__name__}): write them with "
            f"`bitfront train --model {NAME}`"
        ) from error
    return parts
