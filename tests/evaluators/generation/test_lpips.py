"""LPIPS against its formula, with AlexNet's weights from a file, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bitfront.evaluators.generation.lpips import WEIGHTS, perceptual_distance
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

ensure_torchvision()
lpips = pytest.importorskip("torchmetrics.functional.image.lpips")
# Layers of torchvision's AlexNet behind which LPIPS looks.
LAYERS = (1, 4, 7, 9, 11)
MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))


@pytest.fixture(scope="module")
def alexnet() -> Any:
    from torchvision.models import alexnet as build

    torch.manual_seed(0)
    return build(weights=None).eval()


@pytest.fixture(scope="module")
def file(alexnet: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / WEIGHTS
    torch.save(alexnet.state_dict(), path)
    return path


def by_the_formula(alexnet: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    heads = torch.load(
        Path(lpips.__file__).with_name("lpips_models") / "alex.pth", map_location="cpu", weights_only=True
    )
    x, y = ((2.0 * part - 1.0 - MEAN) / STD for part in (a, b))
    total = torch.zeros(len(a))
    for number, layer in enumerate(alexnet.features):
        x, y = layer(x), layer(y)
        if number in LAYERS:
            unit = [part / (part.square().sum(1, keepdim=True).sqrt() + 1e-8) for part in (x, y)]
            head = heads[f"lin{LAYERS.index(number)}.model.1.weight"]
            total += ((unit[0] - unit[1]).square() * head).sum(1).mean((1, 2))
    return total


@torch.no_grad()
def test_it_is_what_the_paper_says(alexnet: Any, file: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, 3, 3, 70, 80, generator=generator)
    found = perceptual_distance(str(file))
    assert found is not None
    assert found.name == f"AlexNet ({WEIGHTS})"
    assert found(a, b) == pytest.approx(by_the_formula(alexnet, a, b).tolist(), rel=1e-4)
    assert found(a, a) == (0.0, 0.0, 0.0)
    nearer = found(a, (0.9 * a + 0.1 * b))
    assert all(0.0 < small < large for small, large in zip(nearer, found(a, b), strict=True))


def test_small_grey_pictures_are_enlarged(file: Path) -> None:
    found = perceptual_distance(str(file))
    assert found is not None
    a, b = torch.rand(2, 20, 1, 8, 12, generator=torch.Generator().manual_seed(2))
    assert len(found(a, b)) == 20
    assert min(found(a, b)) > 0.0


def test_it_is_left_out_where_its_weights_are_not_at_hand(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert perceptual_distance("none") is None
    assert perceptual_distance("auto") is None
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / WEIGHTS).write_bytes(file.read_bytes())
    assert perceptual_distance("auto") is not None


def test_other_files_get_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.pth"):
        perceptual_distance(str(tmp_path / "missing.pth"))
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth is not torchvision's AlexNet: give alexnet-owt"):
        perceptual_distance(str(tmp_path / "other.pth"))
