"""Whole trainings: what they write, that a kill changes nothing, what a teacher changes."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.outlines import constructed
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.evaluators.training import training
from bitfront.evaluators.training.distillation import Teacher
from bitfront.evaluators.training.folder import STATE, check_place, read_record, state_in
from bitfront.evaluators.training.images import training_sides
from bitfront.evaluators.training.learner import Learner
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingSpec
from bitfront.evaluators.training.training import Training, resume_training, train_model
from bitfront.spaces import UserError


class Killed(BaseException):
    """Ends a training as a signal would: nothing is written after it."""


@contextmanager
def killed_after(
    steps: int, monkeypatch: pytest.MonkeyPatch, how: type[BaseException] = Killed
) -> Iterator[None]:
    learn = Learner.learn

    def dying(self: Learner, batch: Any) -> float:
        if self.done == steps:
            raise how
        return learn(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", dying)
        yield


class Listener:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.shares: list[float] = []

    @contextmanager
    def stage(self, text: str) -> Iterator[Callable[[float], None]]:
        self.notes.append(text)
        yield self.shares.append

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def done(training_of: Callable[..., TrainingSpec], tmp_path: Path) -> tuple[Training, Path, Listener]:
    """A finished training of a ViT on coloured images."""
    folder, told = tmp_path / "done", Listener()
    folder.mkdir()
    spec = training_of(epochs=3, learning_rate=2e-3, ema_decay=0.8, metrics=("balanced_accuracy",))
    return train_model(spec, folder, audience=told), folder, told


def test_a_finished_training(done: tuple[Training, Path, Listener], coloured: Path) -> None:
    found, folder, told = done
    assert not found.interrupted
    assert {path.name for path in folder.iterdir()} == {
        *("model.safetensors", "model_ema.safetensors", "config.json", "training.json", "curves.csv")
    }
    # Figures are those of the weights in the files, on the images that a search reports on.
    sides = training_sides(found.spec.evaluation)
    for file, figures in found.figures.items():
        model = load_model("test_vit", checkpoint=folder / file)
        assert (model.classes, model.data_config["input_size"]) == (3, (3, 32, 32))
        images = load_images(sides.source, sides.splits.test, model.data_config)
        with torch.no_grad():
            ((batch, labels),) = images.batches(64)
            right = (model.module(batch).argmax(-1) == labels).double()
        assert figures.values["top1"] == pytest.approx(100 * float(right.mean()))
        assert figures.errors["top1"] == pytest.approx(100 * float(right.std(correction=0)) / 12**0.5)
        assert {"macro_f1", "roc_auc", "loss", "balanced_accuracy"} <= set(figures.values)
        assert not {"kl", "agreement"} & set(figures.values)
    gained = (
        found.figures["model_ema.safetensors"].values["loss"]
        - found.figures["model.safetensors"].values["loss"]
    )
    assert found.difference["loss"][0] == pytest.approx(gained)
    # Curves.
    with (folder / "curves.csv").open() as file_:
        rows = list(csv.DictReader(file_))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) < 1.3
    assert set(rows[0]) == {
        *("epoch", "learning_rate", "loss", "held_out_loss", "held_out_top1", "seconds"),
        *("ema_held_out_loss", "ema_held_out_top1"),
    }
    # The record.
    record = json.loads((folder / "training.json").read_text())
    assert record["settled"]["recipe"]["augment"] == "light"
    assert record["settled"]["evaluation"]["image_size"] == [32, 32]
    assert record["train_images"] == 60
    assert record["figures"]["model.safetensors"]["values"] == found.figures["model.safetensors"].values
    assert record["environment"]["packages"]["timm"]
    assert record["class_names"] == ["blue", "green", "red"]
    assert not record["interrupted"]
    assert str(folder) not in json.dumps(record)
    # Who listens.
    assert any(note.startswith("training images: 60 images of") for note in told.notes)
    assert any(note.startswith("epoch 3/3: loss") and "averaged weights" in note for note in told.notes)
    assert told.shares == pytest.approx(np.arange(1, 13) / 12)


def test_weights_load_in_timm(done: tuple[Training, Path, Listener], monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder, _ = done
    ensure_torchvision()
    import timm

    for file in ("model.safetensors", "model_ema.safetensors"):
        theirs = timm.create_model(
            "test_vit", num_classes=3, img_size=32, checkpoint_path=str(folder / file)
        ).eval()
        ours = load_model("test_vit", checkpoint=folder / file)
        images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert torch.equal(theirs(images), ours.module(images))
    named = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert (named.num_classes, named.patch_embed.img_size) == (3, (32, 32))
    config = timm.data.resolve_data_config({}, model=named)
    assert (tuple(config["mean"]), config["input_size"]) == (tuple(ours.data_config["mean"]), (3, 32, 32))
    assert torch.equal(named.head.weight, load_file(folder / "model.safetensors")["head.weight"])


def test_preprocessing_is_found_beside_the_weights(
    training_of: Callable[..., TrainingSpec], tmp_path: Path
) -> None:
    spec = training_of(
        epochs=1, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), crop_pct=0.9, interpolation="bilinear"
    )
    train_model(spec, tmp_path)
    found = load_model("test_vit", checkpoint=tmp_path / "model.safetensors")
    assert found.data_config["mean"] == (0.1, 0.2, 0.3)
    assert (found.data_config["crop_pct"], found.data_config["interpolation"]) == (0.9, "bilinear")
    assert found.origins["mean"] == "config.json"


@pytest.mark.parametrize("steps", [2, 4, 6])  # within an epoch, at its end, within the last one
def test_a_killed_training_ends_in_the_same_weights(
    training_of: Callable[..., TrainingSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    write_teacher(tmp_path / "t.safetensors")
    teacher = TeacherSpec("test_vit", str(tmp_path / "t.safetensors"))
    spec = training_of(teacher, mixup=0.4, ema_decay=0.9, learning_rate=1e-3, freeze=1)
    expected = train_model(spec, whole)
    with killed_after(steps, monkeypatch), pytest.raises(Killed):
        train_model(spec, killed, save_every=0.0)
    state = state_in(killed, spec)
    assert state["learner"]["done"] == steps
    found = resume_training(killed)
    for file in ("model.safetensors", "model_ema.safetensors"):
        first, second = load_file(whole / file), load_file(killed / file)
        assert all(torch.equal(first[name], second[name]) for name in first)
    curves = [[{**row, "seconds": 0} for row in training.rows] for training in (expected, found)]
    assert curves[0] == curves[1]
    assert found.figures == expected.figures
    assert not (killed / STATE).exists()


def test_states_between_two_moments_are_repeated(
    training_of: Callable[..., TrainingSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a state in time the epoch begins again, and comes to the same."""
    spec = training_of(epochs=1)
    with killed_after(3, monkeypatch), pytest.raises(Killed):
        train_model(spec, tmp_path)
    assert state_in(tmp_path, spec)["learner"]["done"] == 0
    found = resume_training(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    assert found.rows[0]["loss"] == train_model(spec, other).rows[0]["loss"]


def test_ctrl_c_leaves_what_can_be_resumed(
    training_of: Callable[..., TrainingSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_after(5, monkeypatch, KeyboardInterrupt):
        found = train_model(training_of(), tmp_path)
    assert found.interrupted
    assert len(found.rows) == 1
    assert found.figures == {}
    assert not (tmp_path / "model.safetensors").exists()
    assert json.loads((tmp_path / "training.json").read_text())["interrupted"]
    assert not resume_training(tmp_path).interrupted


def test_the_same_seed_gives_the_same_weights_and_another_others(
    training_of: Callable[..., TrainingSpec], tmp_path: Path
) -> None:
    weights = []
    for at, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(at)
        folder.mkdir()
        train_model(training_of(seed=seed, epochs=1), folder)
        weights.append(load_file(folder / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["blocks.0.attn.qkv.weight"], weights[2]["blocks.0.attn.qkv.weight"])


def write_teacher(path: Path) -> None:
    ensure_torchvision()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(constructed("test_vit", 3, {}).state_dict(), path)


class TestTeachers:
    @pytest.fixture
    def teacher(self, tmp_path: Path) -> TeacherSpec:
        write_teacher(tmp_path / "t.safetensors")
        return TeacherSpec("test_vit", str(tmp_path / "t.safetensors"))

    def test_a_student_that_is_its_teacher_has_nothing_to_learn(
        self, training_of: Callable[..., TrainingSpec], tmp_path: Path
    ) -> None:
        """What is left with labels is their smoothing: about 0.5 nats."""
        losses = []
        for alpha in (1.0, 0.0):
            spec = training_of(
                TeacherSpec("digits_deit", pretrained=True),
                model="digits_deit", data="digits", image_size=None, pretrained=True,
                search_images=100, test_images=40, calibration_images=1030,
                alpha=alpha, epochs=1, augment="none",
            )  # fmt: skip
            told = Listener()
            losses.append(train_model(spec, tmp_path, audience=told).rows[0]["loss"])
            assert any(note.startswith("teacher: top-1 9") for note in told.notes)
        assert losses[0] < 0.1
        assert losses[1] > 0.4

    def test_logits_are_kept_where_images_never_vary(
        self, training_of: Callable[..., TrainingSpec], tmp_path: Path, teacher: TeacherSpec,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        calls: list[int] = []
        logits = Teacher.logits
        monkeypatch.setattr(
            Teacher, "logits", lambda self, pixels: calls.append(len(pixels)) or logits(self, pixels)
        )
        losses = {}
        for name, augment in (("fixed", "none"), ("again", "none"), ("varied", "light")):
            calls.clear()
            folder, told = tmp_path / name, Listener()
            folder.mkdir()
            spec = training_of(teacher, augment=augment, crop_scale=1.0, mirror=0.0, epochs=2)
            losses[name] = train_model(spec, folder, audience=told).rows[-1]["loss"]
            seen = sum(calls) - 12  # of the search split, for its accuracy
            kept = any("of images that never vary" in note for note in told.notes)
            assert kept == (augment == "none")
            assert seen == {"fixed": 60, "again": 0, "varied": 120}[name]
        assert losses["fixed"] == losses["again"]

    def test_other_classes_are_refused(
        self, training_of: Callable[..., TrainingSpec], tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match="the teacher digits_deit has 10 classes and the data 3"):
            train_model(training_of(TeacherSpec("digits_deit", pretrained=True)), tmp_path)

    def test_any_number_of_labels_has_none(
        self, training_of: Callable[..., TrainingSpec], tmp_path: Path, teacher: TeacherSpec, coloured: Path
    ) -> None:
        table = many_labels(coloured, tmp_path)
        with pytest.raises(UserError, match="--teacher is for one class to an image"):
            train_model(training_of(teacher, data=str(table), task="multilabel"), tmp_path)


def many_labels(coloured: Path, folder: Path) -> Path:
    """A table of the images, each with the label of its folder and some others."""
    names, rows = [path.name for path in sorted(coloured.iterdir())], []
    for index, path in enumerate(sorted(coloured.rglob("*.png"))):
        labels = [path.parent.name == name or index % 3 == at for at, name in enumerate(names)]
        rows.append(",".join([str(path), *(str(int(label)) for label in labels)]))
    (folder / "labels.csv").write_text("\n".join([f"path,{','.join(names)}", *rows]))
    return folder / "labels.csv"


def test_any_number_of_labels(
    training_of: Callable[..., TrainingSpec], tmp_path: Path, coloured: Path
) -> None:
    spec = training_of(data=str(many_labels(coloured, tmp_path)), task="multilabel", epochs=1)
    folder = tmp_path / "many"
    folder.mkdir()
    found = train_model(spec, folder)
    assert {"map", "loss", "roc_auc"} <= set(found.figures["model.safetensors"].values)
    assert 0.5 < found.rows[0]["loss"] < 1.0
    with pytest.raises(UserError, match="any number of labels to an image, and the task takes one label"):
        train_model(
            dataclasses.replace(spec, evaluation=dataclasses.replace(spec.evaluation, task="classification")),
            folder,
        )


def test_a_short_training_says_that_its_average_lags(
    training_of: Callable[..., TrainingSpec], tmp_path: Path
) -> None:
    told = Listener()
    train_model(training_of(epochs=1), tmp_path, audience=told)
    (note,) = [note for note in told.notes if note.startswith("average of the weights")]
    assert "after 4 steps it keeps 100 % of its start: give --ema-warmup" in note


class TestFolders:
    def test_places(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="is a file: name a folder"):
            check_place(tmp_path / "file", overwrite=False)
        with pytest.raises(
            UserError, match="holds files: choose another folder, or write into it with --force"
        ):
            check_place(tmp_path, overwrite=False)
        check_place(tmp_path, overwrite=True)
        check_place(tmp_path / "new", overwrite=False)
        assert (tmp_path / "new").is_dir()
        (tmp_path / "new" / STATE).write_bytes(b"")
        with pytest.raises(UserError, match=f"or go on with it: --resume {tmp_path / 'new'}"):
            check_place(tmp_path / "new", overwrite=False)

    def test_what_is_no_training(self, tmp_path: Path) -> None:
        with pytest.raises(
            UserError, match=r"is no folder of a training \(training.json is missing\): give one"
        ):
            resume_training(tmp_path)
        (tmp_path / "training.json").write_text('{"format": "bitfront/training", "version": 1, "spec": {}}')
        with pytest.raises(UserError, match=r"training.json is damaged or of another version"):
            resume_training(tmp_path)

    def test_what_has_ended(self, training_of: Callable[..., TrainingSpec], tmp_path: Path) -> None:
        train_model(training_of(epochs=1), tmp_path)
        with pytest.raises(UserError, match="cannot be resumed: the training has ended"):
            resume_training(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        with pytest.raises(UserError, match=r"cannot be resumed: state.pt is missing"):
            resume_training(tmp_path)

    def test_damaged_and_foreign_states(
        self, training_of: Callable[..., TrainingSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with killed_after(1, monkeypatch), pytest.raises(Killed):
            train_model(training_of(), tmp_path)
        whole = (tmp_path / STATE).read_bytes()
        for content in (b"", whole[:1000], b"not a state"):
            (tmp_path / STATE).write_bytes(content)
            with pytest.raises(UserError, match=r"state.pt is damaged .*: train again, with --force"):
                resume_training(tmp_path)
        (tmp_path / STATE).write_bytes(whole)
        spec, _ = read_record(tmp_path)
        other = dataclasses.replace(spec, recipe=dataclasses.replace(spec.recipe, seed=5))
        with pytest.raises(UserError, match=r"state.pt is of another training than training.json"):
            train_model(other, tmp_path, resumed=True)

    def test_a_state_runs_no_code(
        self, training_of: Callable[..., TrainingSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with killed_after(1, monkeypatch), pytest.raises(Killed):
            train_model(training_of(), tmp_path)

        class Evil:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "ran",))

        torch.save({"format": Evil()}, tmp_path / STATE)
        with pytest.raises(UserError, match="is damaged"):
            resume_training(tmp_path)
        assert not (tmp_path / "ran").exists()


def test_too_many_frozen_encoders(training_of: Callable[..., TrainingSpec], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--freeze 7: the model has 6 encoders"):
        train_model(training_of(freeze=7), tmp_path)


def test_what_cannot_be_trained_is_refused_before_data_is_read(
    training_of: Callable[..., TrainingSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "training_sides", lambda _: pytest.fail("data was read"))
    with pytest.raises(UserError, match="unknown --schedule 'up'"):
        train_model(training_of(schedule="up"), tmp_path)
