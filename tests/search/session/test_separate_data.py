"""Calibration and test images in places of their own: a run, its workers, its exports and what moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitfront.evaluators.context.bundle import bundle_of, context_of_bundle
from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.preparing import source_of, splits_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.digits import DigitsSource
from bitfront.search import RunSpec, UserError, open_run, resume, search
from bitfront.search.cli.main import main
from bitfront.search.session.given_inputs import write_given
from bitfront.search.session.inputs import eight_bit_config

# Positions of the scans in each place.
PARTS = {"data": range(160), "calibration_data": range(160, 240), "test_data": range(240, 340)}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Scans of digits in three folders, of which one is below another and one is a table."""
    digits = DigitsSource()
    folders = {
        "data": tmp_path / "images/search",
        "calibration_data": tmp_path / "cal",
        "test_data": tmp_path / "images/search/.held/test",
    }
    for field, positions in PARTS.items():
        for position in positions:
            path = folders[field] / str(digits.labels[position]) / f"{position}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            digits.load(position).save(path)
    table = folders["calibration_data"] / "labels.csv"
    rows = [f"{digits.labels[i]}/{i}.png,{digits.labels[i]}\n" for i in PARTS["calibration_data"]]
    table.write_text("path,label\n" + "".join(rows))
    return {name: str(folder) for name, folder in folders.items()} | {"calibration_data": str(table)}


def spec_of(places: dict[str, str]) -> EvaluationSpec:
    return EvaluationSpec(
        model="digits_deit",
        scheme="fq-vit",
        **places,
        recipe="fq-vit",
        calibration_images=32,
        batch_size=64,
        threads=1,
    )


def positions(spec: EvaluationSpec) -> dict[str, set[int]]:
    """The scans of each split, by their positions in scikit-learn's table."""
    source = source_of(spec)
    splits = splits_of(spec, source)
    return {
        split: {int(Path(source.describe(int(i))).stem) for i in found}
        for split, found in vars(splits).items()
    }


def test_splits_come_from_their_places(places: dict[str, str]) -> None:
    found = positions(spec_of(places))
    assert {split: len(images) for split, images in found.items()} == {
        "calibration": 32,
        "search": 160,
        "test": 100,
    }
    for split, field in (("calibration", "calibration_data"), ("search", "data"), ("test", "test_data")):
        assert found[split] <= set(PARTS[field])


def test_what_is_sent_to_a_cluster_evaluates_to_the_same(places: dict[str, str], tmp_path: Path) -> None:
    context = EvaluationContext.from_spec(spec_of(places))
    (tmp_path / "bundle").write_bytes(bundle_of(context))
    sent = context_of_bundle(tmp_path / "bundle", context.spec)
    config = eight_bit_config(context)
    assert sent.quality(config).values == context.quality(config).values
    assert np.array_equal(sent.splits.test, context.splits.test)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_with_three_places(places: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    asked = RunSpec(
        evaluation=spec_of(places), latency="model:bops", evaluations=2, space="encoder", allow_uniform=True
    )
    run = search(asked, name="three", runs_dir=tmp_path / "runs", workers=0)
    assert run.evaluation["calibration_data"] == places["calibration_data"]
    splits = json.loads((run.path / "splits.json").read_text())
    assert [len(splits[split]) for split in ("calibration", "search", "test")] == [32, 160, 100]
    resumed = resume("three", runs_dir=tmp_path / "runs", evaluations=3, workers=1)
    assert len(resumed.trials) >= 3
    assert "failed" not in set(resumed.trials["state"])

    exported = run.export("knee", "packed")
    assert exported.passed
    config = run.export("knee")
    latency = ["--latency", "model:bops", "--json"]
    assert main(["evaluate", "--config", str(config.path), *latency]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 100
    assert (found["data"], found["test_data"]) == (places["data"], places["test_data"])
    assert found["top1"] == pytest.approx(float(run.pick()["test_top1"]))

    # Test images that lay in the folder of the data move with it; others are told of on their own.
    (tmp_path / "images/search").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="no such data"):
        run.verify(exported.path)
    assert run.verify(exported.path, data=tmp_path / "moved").passed
    Path(places["calibration_data"]).parent.rename(tmp_path / "cal2")
    assert main(["verify", str(exported.path), "--data", str(tmp_path / "moved"),
                 "--calibration-data", str(tmp_path / "cal2/labels.csv")]) == 0  # fmt: skip
    # Other test images are not those that the file was verified on.
    moved = {"data": tmp_path / "moved", "calibration_data": tmp_path / "cal2/labels.csv"}
    with pytest.raises(UserError, match="images are not those"):
        run.verify(exported.path, **moved, test_data="digits")
    assert open_run("three", runs_dir=tmp_path / "runs").evaluation == resumed.evaluation


def test_data_sets_in_memory_have_places_of_their_own(tmp_path: Path) -> None:
    digits = DigitsSource()
    sets = {
        field: [(digits.load(i), digits.labels[i]) for i in positions] for field, positions in PARTS.items()
    }
    spec = EvaluationSpec(model="digits_deit", scheme="fq-vit", calibration_images=32)
    spec = write_given(
        tmp_path,
        spec,
        data=sets["data"],
        calibration_data=sets["calibration_data"],
        test_data=sets["test_data"],
    )
    assert [Path(spec.places[field]).parent.name for field in PARTS] == [
        "images",
        "calibration_images",
        "test_images",
    ]
    source = source_of(spec)
    splits = splits_of(spec, source)
    assert [len(found) for found in vars(splits).values()] == [32, 160, 100]
    # Of calibration images no more are written than are taken.
    assert len(source) == 160 + 32 + 100
