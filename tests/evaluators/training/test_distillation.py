"""Learning from a teacher: the loss beside numpy's, teachers of any family, kept logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from training_images import CONFIG, images_of

from bitfront.evaluators.models.outlines import constructed
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.evaluators.training.distillation import (
    Teacher,
    cached_logits,
    distillation_loss,
    load_teacher,
    normalised,
)
from bitfront.evaluators.training.images import TrainingImages
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingSpec
from bitfront.spaces import UserError

CPU = torch.device("cpu")
GREY = {**CONFIG, "input_size": (1, 16, 16), "mean": (0.306,), "std": (0.319,)}


class TestLoss:
    @pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_is_the_formula(self, alpha: float, temperature: float) -> None:
        rng = np.random.default_rng(0)
        student, teacher = rng.normal(0, 3, (6, 5)), rng.normal(0, 3, (6, 5))
        labels = rng.integers(5, size=6)

        def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            powers = np.exp(logits - logits.max(1, keepdims=True))
            return powers / powers.sum(1, keepdims=True)  # type: ignore[no-any-return]

        p, q = softmax(teacher / temperature), softmax(student / temperature)
        divergence = (p * np.log(p / q)).sum(1).mean()
        hard = -np.log(softmax(student)[np.arange(6), labels]).mean()
        expected = (1 - alpha) * hard + alpha * temperature**2 * divergence
        given = torch.from_numpy(student), torch.from_numpy(teacher), torch.tensor(hard)
        assert float(distillation_loss(*given, alpha, temperature)) == pytest.approx(expected, rel=1e-12)

    def test_a_student_like_its_teacher_has_nothing_to_learn(self) -> None:
        logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        student = logits.clone().requires_grad_()
        loss = distillation_loss(student, logits, torch.zeros((), dtype=torch.float64), 1.0, 3.0)
        loss.backward()  # type: ignore[no-untyped-call]
        assert float(loss.detach()) == pytest.approx(0.0, abs=1e-15)
        assert student.grad is not None
        assert float(student.grad.abs().max()) < 1e-15


def write_teacher(path: Path, name: str, classes: int) -> torch.nn.Module:
    ensure_torchvision()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module: torch.nn.Module = constructed(name, classes, {})
    save_file(module.state_dict(), path)
    return module.eval()


class TestTeacher:
    def test_normalisation_is_that_of_evaluations(self) -> None:
        pixels = torch.randint(0, 256, (2, 3, 4, 4)).float()
        from bitfront.evaluators.data.images import PreprocessedImages

        images = PreprocessedImages(
            pixels.to(torch.uint8), torch.zeros(2), np.arange(2), (0.485, 0.456, 0.406), (0.2, 0.3, 0.4)
        )
        config = {"mean": images.mean, "std": images.std}
        assert torch.equal(normalised(pixels, config), images.normalised(images.pixels))

    def test_any_classifier_of_timm(self, tmp_path: Path) -> None:
        """A ResNet, with batch norms and their counters, which no scheme covers."""
        path = tmp_path / "teacher.safetensors"
        module = write_teacher(path, "test_resnet", 3)
        teacher = load_teacher(TeacherSpec("test_resnet", str(path)), 3, CONFIG, CPU)
        side = teacher.data_config["input_size"][1]
        assert teacher.resized
        assert f"images of {side}x{side}, resized from the student's 32x32" in teacher.note
        pixels = torch.full((2, 3, 32, 32), 100.0)
        found = teacher.logits(pixels)
        assert found.shape == (2, 3)
        with torch.no_grad():
            expected = module(normalised(torch.full((2, 3, side, side), 100.0), teacher.data_config))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_a_built_in_one_with_its_own_normalisation(self) -> None:
        teacher = load_teacher(TeacherSpec("digits_deit", pretrained=True), 10, GREY, CPU)
        assert not teacher.resized
        assert "digits_deit (embedded), images of 16x16, normalised as it was trained" in teacher.note
        assert not any(parameter.requires_grad for parameter in teacher.module.parameters())

    def test_of_other_classes(self, tmp_path: Path) -> None:
        write_teacher(tmp_path / "t.safetensors", "test_resnet", 7)
        with pytest.raises(
            UserError, match="the teacher test_resnet has 7 classes and the data 3: give one that"
        ):
            load_teacher(TeacherSpec("test_resnet", str(tmp_path / "t.safetensors")), 3, CONFIG, CPU)
        with pytest.raises(UserError, match="the teacher digits_deit has 10 classes and the data 3"):
            load_teacher(TeacherSpec("digits_deit", pretrained=True), 3, CONFIG, CPU)

    def test_of_grey_images_for_a_student_of_coloured_ones(self) -> None:
        with pytest.raises(UserError, match="takes grey images and the student coloured ones"):
            load_teacher(TeacherSpec("digits_deit", pretrained=True), 10, CONFIG, CPU)

    def test_of_coloured_images_for_a_student_of_grey_ones(self, tmp_path: Path) -> None:
        write_teacher(tmp_path / "t.safetensors", "test_vit", 10)
        teacher = load_teacher(TeacherSpec("test_vit", str(tmp_path / "t.safetensors")), 10, GREY, CPU)
        assert teacher.logits(torch.zeros(2, 1, 16, 16)).shape == (2, 10)

    def test_unknown_ones_and_files_that_do_not_fit(self, tmp_path: Path) -> None:
        write_teacher(tmp_path / "t.safetensors", "test_resnet", 3)
        with pytest.raises(UserError, match="unknown model 'resnet1O'"):
            load_teacher(TeacherSpec("resnet1O", "x.pth"), 3, CONFIG, CPU)
        with pytest.raises(UserError, match="has no classifier classifier of test_efficientnet"):
            load_teacher(TeacherSpec("test_efficientnet", str(tmp_path / "t.safetensors")), 3, CONFIG, CPU)
        with pytest.raises(UserError, match="no such checkpoint"):
            load_teacher(TeacherSpec("test_resnet", str(tmp_path / "none.pth")), 3, CONFIG, CPU)


class TestKeptLogits:
    @pytest.fixture
    def images(self, training_of: Callable[..., TrainingSpec]) -> TrainingImages:
        return images_of(training_of(augment="none"))

    def test_are_the_teachers_and_computed_once(
        self, images: TrainingImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path / "cache"))
        write_teacher(tmp_path / "t.safetensors", "test_vit", 3)
        teacher = load_teacher(TeacherSpec("test_vit", str(tmp_path / "t.safetensors")), 3, CONFIG, CPU)
        logits, known = cached_logits(teacher, images, 16)
        assert not known
        batch = next(images.batches(1))
        expected = teacher.logits(batch.pixels)
        torch.testing.assert_close(logits[batch.places], expected, rtol=1e-4, atol=1e-5)

        def never(*_: object) -> None:
            raise AssertionError

        monkeypatch.setattr(Teacher, "logits", never)
        again, known = cached_logits(teacher, images, 16)
        assert known
        assert torch.equal(again, logits)

    def test_of_another_teacher_are_others(
        self, images: TrainingImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path / "cache"))
        write_teacher(tmp_path / "t.safetensors", "test_vit", 3)
        teacher = load_teacher(TeacherSpec("test_vit", str(tmp_path / "t.safetensors")), 3, CONFIG, CPU)
        cached_logits(teacher, images, 16)
        with torch.no_grad():
            teacher.module.get_parameter("head.bias").add_(1.0)
        assert not cached_logits(teacher, images, 16)[1]
