"""Training of the digits models: reproducible, silent, complete or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bitfront.evaluators.data import cluttered
from bitfront.evaluators.data.cluttered import number_of
from bitfront.evaluators.data.source import TEST
from bitfront.evaluators.models.digits_models import DIGITS_MODELS
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.training import digits as training
from bitfront.evaluators.training.digits import TrainingProgress, resume_digits, train_digits
from bitfront.spaces import UserError


class TestTraining:
    @pytest.mark.slow
    def test_a_short_run_is_reproducible_and_reports(self, tmp_path: Path) -> None:
        seen: list[TrainingProgress] = []
        global_state, threads = torch.get_rng_state(), torch.get_num_threads()
        result = train_digits(
            tmp_path / "a.safetensors",
            model="digits_deit",
            seed=1,
            epochs=2,
            threads=1,
            train_images=96,
            progress=seen.append,
        )
        train_digits(
            tmp_path / "b.safetensors", model="digits_deit", seed=1, epochs=2, threads=1, train_images=96
        )
        train_digits(
            tmp_path / "c.safetensors", model="digits_deit", seed=2, epochs=1, threads=1, train_images=96
        )

        first, second, other = (load_file(tmp_path / f"{name}.safetensors") for name in "abc")
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])
        assert torch.equal(torch.get_rng_state(), global_state)
        assert torch.get_num_threads() == threads

        assert [(step.epoch, step.epochs) for step in seen] == [(1, 2), (2, 2)]
        assert seen[1].loss < seen[0].loss
        assert (result.model, result.path) == ("digits_deit", tmp_path / "a.safetensors")
        assert (result.train_images, result.held_out_images) == (96, 719)
        assert result.size_bytes == result.path.stat().st_size
        with safe_open(result.path, framework="pt") as file:
            assert file.metadata() == {
                "architecture": "digits_deit",
                "seed": "1",
                "epochs": "2",
                "held_out_top1": str(round(result.held_out_top1, 3)),
            }
        assert load_model("digits_deit", checkpoint=result.path).classes == 10

    @pytest.mark.parametrize("model", ["digits_vit", "digits_swin"])
    def test_other_models(self, tmp_path: Path, model: str) -> None:
        path = tmp_path / "weights.safetensors"
        seen: list[TrainingProgress] = []
        train_digits(path, model=model, epochs=2, train_images=128, progress=seen.append)
        assert seen[1].loss < seen[0].loss
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["architecture"] == model
        assert load_model(model, checkpoint=path).classes == 10

    def test_threads_change_nothing_of_canvases(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Parts of a batch are summed in order, whoever computes them."""
        monkeypatch.setitem(cluttered.CANVASES, TEST, 16)
        losses: dict[int, list[float]] = {1: [], 2: []}
        for threads, seen in losses.items():
            result = train_digits(
                tmp_path / f"{threads}.safetensors",
                model="cluttered_deit",
                epochs=2,
                threads=threads,
                train_images=40,
                progress=lambda state, seen=seen: seen.append(state.loss),  # type: ignore[misc]
            )
        first, second = (load_file(tmp_path / f"{threads}.safetensors") for threads in losses)
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert losses[1] == losses[2]
        # as the version that made its weights has them
        assert losses[1] == pytest.approx([2.30112, 2.28669], abs=1e-4)
        assert (result.train_images, result.held_out_images) == (40, 16)
        assert load_model("cluttered_deit", checkpoint=result.path).classes == 1000

    @pytest.mark.parametrize("model", ["cluttered_vit", "cluttered_swin"])
    def test_others_of_canvases(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
        monkeypatch.setitem(cluttered.CANVASES, TEST, 16)
        path = tmp_path / "weights.safetensors"
        train_digits(path, model=model, epochs=1, train_images=20)
        assert load_model(model, checkpoint=path).classes == 1000

    def test_a_number_has_the_logits_of_its_digits(self) -> None:
        for name in ("cluttered_deit", "cluttered_swin"):
            reading = training._reading_model(name).eval()
            torch.nn.init.normal_(reading.get_submodule(str(reading.pretrained_cfg["classifier"])).weight)  # type: ignore[arg-type,index]
            numbers = training._of_numbers(reading, DIGITS_MODELS[name]).eval()
            images = torch.randn(4, 1, 36, 36)
            with torch.inference_mode():
                digits, found = reading(images).view(4, 3, 10), numbers(images)
            expected = digits[:, 0, 4] + digits[:, 1, 0] + digits[:, 2, 7]
            torch.testing.assert_close(found[:, 407], expected, rtol=1e-5, atol=1e-5)
            assert found.shape == (4, 1000)
            assert found.argmax(-1).tolist() == number_of(digits.argmax(-1).numpy()).tolist()

    def test_the_first_epochs_of_the_small_embedded_model(self, tmp_path: Path) -> None:
        losses: list[float] = []
        train_digits(
            tmp_path / "a.safetensors",
            model="digits_deit",
            epochs=5,
            train_images=128,
            progress=lambda state: losses.append(state.loss),
        )
        # as the version that made its weights has them
        assert losses == pytest.approx([2.30410, 2.29941, 2.29032, 2.27696, 2.27882], abs=1e-4)

    @pytest.mark.parametrize("model", ["digits_deit", "cluttered_deit"])
    def test_a_killed_training_ends_in_the_same_weights(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
    ) -> None:
        monkeypatch.setitem(cluttered.CANVASES, TEST, 8)
        whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
        asked: dict[str, Any] = {"model": model, "seed": 2, "epochs": 3, "train_images": 24}
        expected = train_digits(whole, **asked, threads=1)

        def kill(state: TrainingProgress) -> None:
            if state.epoch == 2:
                raise SystemExit

        with pytest.raises(SystemExit):
            train_digits(killed, **asked, threads=1, progress=kill)
        assert not killed.exists()
        with pytest.raises(UserError, match=r"is of another training: .*; remove it to train again"):
            train_digits(killed, **{**asked, "seed": 3}, resumed=True)
        seen: list[int] = []
        found = resume_digits(killed, threads=1, progress=lambda state: seen.append(state.epoch))
        first, second = load_file(whole), load_file(killed)
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert found.held_out_top1 == expected.held_out_top1
        assert seen == [3]
        assert {path.name for path in tmp_path.iterdir()} == {whole.name, killed.name}
        with pytest.raises(
            UserError, match=r"nothing to go on with: .*killed.safetensors.state.pt is missing"
        ):
            resume_digits(killed)

    def test_mistakes_are_found_before_the_training(self, tmp_path: Path) -> None:
        with pytest.raises(
            UserError, match="cannot train 'digits_swim': expected one of cluttered_deit, clut"
        ):
            train_digits(tmp_path / "a.safetensors", model="digits_swim")
        with pytest.raises(UserError, match="0 epochs: expected at least 1"):
            train_digits(tmp_path / "a.safetensors", epochs=0)
        with pytest.raises(UserError, match=r"there is no folder .*missing; make it, or choose another"):
            train_digits(tmp_path / "missing" / "a.safetensors", epochs=10_000)
        with pytest.raises(UserError, match="it is a folder; expected the name of a file"):
            train_digits(tmp_path, epochs=10_000)
