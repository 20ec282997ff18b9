"""Images to train on: none that a search sees, varied the same for a seed, mixed as timm does."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_images
from training_images import CONFIG, images_of

from bitfront.evaluators.context.preparing import splits_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.training.images import (
    Batch,
    TrainingImages,
    classes_in,
    draws_of_its_own,
    training_sides,
)
from bitfront.evaluators.training.recipe import TrainingSpec
from bitfront.spaces import UserError


class TestSides:
    def test_a_training_side_is_trained_on_but_for_what_calibrates(self) -> None:
        sides = training_sides(EvaluationSpec(model="digits_deit", data="digits", calibration_images=100))
        assert len(sides.training) == 1078 - 100
        assert sides.source.partition is not None
        assert set(sides.source.partition[sides.training]) == {"train"}
        assert not set(sides.training) & {int(i) for part in vars(sides.splits).values() for i in part}
        assert "without 100 that calibrate (seed 0)" in sides.notes[0]

    def test_without_one_a_search_by_the_same_sizes_sees_none_of_them(self, coloured: Path) -> None:
        spec = EvaluationSpec(model="test_vit", data=str(coloured), calibration_images=10, seed=3)
        sides = training_sides(spec)
        assert (sides.spec.search_images, sides.spec.test_images) == (19, 19)
        assert len(sides.training) == 96 - 10 - 19 - 19
        searched = splits_of(sides.spec, sides.source)
        seen = np.concatenate([searched.calibration, searched.search, searched.test])
        assert sorted([*sides.training, *seen]) == list(range(96))
        assert "10 that calibrate, 19 that steer and 19 that report" in sides.notes[0]

    def test_images_to_report_on_may_be_elsewhere(self, coloured: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        for name in ("blue", "green", "red"):
            (other / name).mkdir(parents=True)
            shutil.copy(coloured / name / "00.png", other / name / "a.png")
        spec = EvaluationSpec(
            model="test_vit", data=str(coloured), test_data=str(other), calibration_images=10
        )
        sides = training_sides(spec)
        # Copies of images to report on are not trained on, either.
        assert len(sides.splits.test) == 3
        assert len(sides.training) == 93 - 10 - len(sides.splits.search)
        assert not {sides.source.describe(int(i)).rpartition("/")[2] for i in sides.training} & {"00.png"}

    def test_canvases_are_of_scans_that_no_split_has(self) -> None:
        sides = training_sides(EvaluationSpec(data="cluttered"))
        assert sides.learned is not sides.source
        assert len(sides.training) == len(sides.learned)
        image = sides.learned.load(5)
        assert (image.size, image.mode) == ((36, 36), "L")
        assert np.array_equal(np.asarray(image), np.asarray(sides.learned.load(5)))
        assert classes_in(sides.learned, False) == 1000

    def test_only_so_many_with_classes_in_proportion(self, coloured: Path) -> None:
        spec = EvaluationSpec(model="test_vit", data=str(coloured), calibration_images=10)
        every, some = training_sides(spec), training_sides(spec, most=15)
        assert set(some.training) < set(every.training)
        assert np.bincount(some.source.labels[some.training]).tolist() == [5, 5, 5]
        assert len(training_sides(EvaluationSpec(data="cluttered"), most=50).training) == 50

    def test_too_few_images(self, coloured: Path) -> None:
        with pytest.raises(
            UserError, match="no image left to train on beside 56 to calibrate on, 20 to search"
        ):
            training_sides(
                EvaluationSpec(
                    model="test_vit",
                    data=str(coloured),
                    calibration_images=56,
                    search_images=20,
                    test_images=20,
                )
            )


PROGRAM = """
import json, sys
from test_images import images_of, rest_of_an_epoch
from bitfront.evaluators.training.recipe import TrainingSpec
if __name__ == "__main__":
    print(json.dumps(rest_of_an_epoch(images_of(TrainingSpec.from_json(json.loads(sys.argv[1]))))))
"""


def digest(batch: Batch) -> str:
    return hashlib.sha256(b"".join(values.numpy().tobytes() for values in batch)).hexdigest()


def rest_of_an_epoch(images: TrainingImages) -> list[str]:
    """The batches of the fourth epoch from the third on, once another epoch was begun and left."""
    next(images.batches(0))
    return [digest(batch) for batch in images.batches(3, start=2)]


def in_a_process(spec: TrainingSpec) -> list[str]:
    """The same from a process of its own."""
    folders = [Path(__file__).parent, Path(training_images.__file__).parent]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    words = [sys.executable, "-c", PROGRAM, json.dumps(spec.to_json())]
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: list[str] = json.loads(done.stdout)
    return found


class TestBatches:
    def test_the_same_for_a_seed_and_others_in_each_epoch(
        self, training_of: Callable[..., TrainingSpec]
    ) -> None:
        first, again, other = (
            list(images_of(training_of(seed=seed)).batches(epoch)) for seed, epoch in ((0, 0), (0, 0), (1, 0))
        )
        later = list(images_of(training_of()).batches(1))
        assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(first, again, strict=True))
        assert sorted(int(p) for batch in first for p in batch.places) == list(range(60))
        assert not torch.equal(first[0].places, other[0].places)
        assert not torch.equal(first[0].places, later[0].places)
        place = int(first[0].places[0])
        (twin,) = (
            batch.pixels[row] for batch in later for row, p in enumerate(batch.places.tolist()) if p == place
        )
        assert not torch.equal(first[0].pixels[0], twin)

    @pytest.mark.parametrize("loaders", [0, 2])
    def test_the_rest_of_an_epoch_is_that_of_the_whole(
        self, training_of: Callable[..., TrainingSpec], loaders: int
    ) -> None:
        whole = list(images_of(training_of(mixup=0.5)).batches(3))
        spec = training_of(mixup=0.5, loaders=loaders)
        # Torch keeps a handler of signals in a process that once had loaders: not in this one.
        rest = in_a_process(spec) if loaders else rest_of_an_epoch(images_of(spec))
        assert rest == [digest(batch) for batch in whole[2:]]

    def test_fixed_images_are_those_that_a_search_sees(
        self, training_of: Callable[..., TrainingSpec]
    ) -> None:
        from bitfront.evaluators.data.images import load_images

        spec = training_of(augment="none")
        sides, images = training_sides(spec.evaluation), images_of(spec)
        expected = load_images(sides.source, sides.training[:4], CONFIG)
        for epoch in range(2):
            found = [images[epoch, place] for place in range(4)]
            assert all(torch.equal(f[0], e) for f, e in zip(found, expected.pixels, strict=True) if f)
        assert spec.recipe.settled(True, (3, 32, 32)).fixed_images

    @pytest.mark.parametrize("kind", ["mixup", "cutmix"])
    def test_mixed_images_have_mixed_labels(
        self, training_of: Callable[..., TrainingSpec], kind: str
    ) -> None:
        spec = training_of(**{kind: 1.0}, label_smoothing=0.0, augment="none")
        batches = list(images_of(spec).batches(0))
        labels = torch.cat([batch.labels for batch in batches])
        assert labels.shape == (60, 3)
        torch.testing.assert_close(labels.sum(1), torch.ones(60))
        assert int(((labels > 0.01) & (labels < 0.99)).any(1).sum()) > 10
        assert not spec.recipe.settled(True, (3, 32, 32)).fixed_images

    def test_the_odd_one_of_a_batch_is_not_mixed_in(self, training_of: Callable[..., TrainingSpec]) -> None:
        assert [len(b.places) for b in images_of(training_of(mixup=1.0, batch=7)).batches(0)][:2] == [6, 6]

    def test_unreadable_images_are_left_out_and_named_once(
        self,
        training_of: Callable[..., TrainingSpec],
        coloured: Path,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        shutil.copytree(coloured, tmp_path / "some")
        spec = training_of(data=str(tmp_path / "some"))
        sides = training_sides(spec.evaluation)
        Path(sides.source.describe(int(sides.training[0]))).write_bytes(b"nothing")
        images = images_of(spec)
        assert [sum(len(batch.places) for batch in images.batches(epoch)) for epoch in range(2)] == [59, 59]
        (told,) = caplog.messages
        assert told.startswith("left out an image: ")
        assert sides.source.describe(int(sides.training[0])) in told

    def test_policies_of_timm(self, training_of: Callable[..., TrainingSpec]) -> None:
        # The strongest draws of timm posterize to no bits, which PIL refuses: others are drawn.
        strong = images_of(training_of(augment="rand-m10-inc1-n4"))
        assert sum(len(batch.places) for epoch in range(3) for batch in strong.batches(epoch)) == 180
        with pytest.raises(UserError, match="--augment 'twist' is unknown to timm"):
            images_of(training_of(augment="twist"))

    def test_parts_are_all_of_a_batch(self) -> None:
        batch = Batch(torch.rand(5, 1, 2, 2), torch.arange(5), torch.arange(5))
        parts = batch.parts(2)
        assert [len(part.places) for part in parts] == [3, 2]
        assert torch.equal(torch.cat([part.pixels for part in parts]), batch.pixels)
        assert len(batch.parts(9)) == 5

    def test_global_generators_stay_as_they_were(self, training_of: Callable[..., TrainingSpec]) -> None:
        before: tuple[Any, ...] = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index,union-attr]  # noqa: NPY002
        with draws_of_its_own():
            list(images_of(training_of()).batches(0))
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index,union-attr]  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[2])
