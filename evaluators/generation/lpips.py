"""LPIPS: how far pictures are apart in features of AlexNet, fitted to what people see (Zhang et al. 2018).

The heads that weigh its features come with torchmetrics. Its own weights are torchvision's, which are taken
from torch's cache or from a file, and never fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from bitfront.evaluators.generation.features import AUTO, NONE
from bitfront.evaluators.models.checkpoint import read_checkpoint
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

# The file in torch's cache of downloads that torchvision's AlexNet is.
WEIGHTS = "alexnet-owt-7be5be79.pth"
# Pixels of a side at least, so that the last layer sees something.
_SIDE, _BATCH = 64, 16


@dataclass(frozen=True, eq=False)
class PerceptualDistance:
    """Distances of pictures in the features of AlexNet.

    Attributes:
        name: As tables name it, with the file of its weights.
        network: Of torchmetrics: distances ``[pictures, 1, 1, 1]`` of pictures from 0 to 1.
    """

    name: str
    network: Any

    @torch.inference_mode()
    def __call__(self, pictures: torch.Tensor, reference: torch.Tensor) -> tuple[float, ...]:
        """The distance of each picture from its reference; 0 where they are equal.

        Args:
            pictures: From 0 to 1, float32 ``[pictures, 1 or 3, height, width]``.
            reference: The same of as many.
        """
        rows = (slice(start, start + _BATCH) for start in range(0, len(pictures), _BATCH))
        found = [
            self.network(_seen(pictures[some]), _seen(reference[some]), normalize=True).flatten()
            for some in rows
        ]
        return tuple(float(value) for value in torch.cat(found))


def _seen(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures in three channels, enlarged where they are too small for the network."""
    wide = pictures.expand(-1, 3, -1, -1)
    side = min(wide.shape[-2:])
    if side < _SIDE:
        wide = functional.interpolate(wide, scale_factor=_SIDE / side, mode="bilinear")
    return wide.clamp(0.0, 1.0)


def perceptual_distance(text: str) -> PerceptualDistance | None:
    """LPIPS with the weights that a text names: ``auto``, ``none`` or a file.

    ``auto`` is torchvision's file in torch's cache of downloads, and nothing where there is none.

    Raises:
        UserError: The file cannot be read, or is not AlexNet's.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS if text == AUTO else Path(text)
    if text == NONE or (text == AUTO and not path.is_file()):
        return None
    state = read_checkpoint(path).state
    ensure_torchvision()
    # The public class loads weights by itself, from the network and with pickle.
    from torchmetrics.functional.image.lpips import _LPIPS

    network = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    trunk = {
        f"slice{number}.{name}": f"features.{name}"
        for number in range(1, 6)
        for name in getattr(network.net, f"slice{number}").state_dict()
    }
    shapes = {ours: value.shape for ours, value in network.net.state_dict().items()}
    if any(theirs not in state or state[theirs].shape != shapes[ours] for ours, theirs in trunk.items()):
        raise UserError(f"--lpips {path} is not torchvision's AlexNet: give {WEIGHTS}, or none")
    network.net.load_state_dict({ours: state[theirs] for ours, theirs in trunk.items()})
    return PerceptualDistance(f"AlexNet ({path.name})", network)
