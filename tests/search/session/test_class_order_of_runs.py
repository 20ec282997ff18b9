"""The order of class folders in a run: decided once, and then that of workers, files and configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitfront.evaluators.context.preparing import source_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.deployment.registry import file_document
from bitfront.search import RunSpec, UserError, resume, search
from bitfront.search.cli.main import main
from bitfront.search.session.specs import recorded_spec

NAMES = tuple(str(number) for number in range(1, 11))


def numbered(root: Path, images: int = 300) -> Path:
    """Digits in numbered folders, of which the model has the natural order."""
    source = DigitsSource()
    for index in range(images):
        path = root / NAMES[int(source.labels[index])] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        source.load(index).save(path)
    return root


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_keeps_the_order_that_was_decided(tmp_path: Path, capsys: Any) -> None:
    data = numbered(tmp_path / "data")
    spec = EvaluationSpec(
        model="digits_deit",
        scheme="fq-vit",
        data=str(data),
        recipe="fq-vit",
        calibration_images=64,
        batch_size=32,
        threads=1,
    )
    asked = RunSpec(evaluation=spec, latency="model:bops", evaluations=2, space="encoder")
    run = search(asked, name="one", runs_dir=tmp_path / "runs", workers=1)
    assert run.evaluation["class_order"] == "natural"
    assert float(run.trials["top1"].max()) > 90.0
    resumed = resume("one", runs_dir=tmp_path / "runs", evaluations=3, workers=0)
    assert "failed" not in set(resumed.trials["state"])
    assert float(resumed.trials["top1"].min()) > 90.0

    exported = run.export("knee", "packed")
    assert exported.passed
    assert file_document(exported.path)["provenance"]["class_names"] == list(NAMES)
    assert run.verify(exported.path, rebuild=True).passed
    config = run.export("knee")
    for more in ([], ["--data", str(data)]):
        assert (
            main(["evaluate", "--config", str(config.path), "--latency", "model:bops", "--json", *more]) == 0
        )
        found = json.loads(capsys.readouterr().out)
        assert found["top1"] == pytest.approx(float(run.pick()["test_top1"]))


def test_configs_without_an_order_have_the_plain_one_of_their_data(tmp_path: Path) -> None:
    data = str(numbered(tmp_path / "data", 10))
    recorded = EvaluationSpec(model="digits_deit", scheme="fq-vit", data=data).to_json()
    assert "class_order" not in recorded
    assert recorded_spec(recorded, {}).class_order == "plain"
    assert recorded_spec(recorded, {"data": data}).class_order == "plain"
    assert recorded_spec(recorded, {"data": "digits"}).class_order is None
    named = {**recorded, "class_order": "natural"}
    assert recorded_spec(named, {"data": "digits"}).class_order == "natural"
    assert recorded_spec(named, {"class_order": "plain"}).class_order == "plain"
    assert source_of(recorded_spec(named, {})).class_names == NAMES


def test_a_class_map_moves_with_the_data_or_by_itself(tmp_path: Path) -> None:
    data = numbered(tmp_path / "data", 10)
    (data / "names.txt").write_text("\n".join(NAMES))
    spec = EvaluationSpec(
        model="digits_deit", scheme="fq-vit", data=str(data), class_map=str(data / "names.txt")
    )
    labels = source_of(spec).labels.tolist()
    data.rename(tmp_path / "there")
    moved = spec.moved(data=tmp_path / "there")
    assert moved.class_map == str(tmp_path / "there" / "names.txt")
    assert source_of(moved).labels.tolist() == labels
    (tmp_path / "there" / "names.txt").rename(tmp_path / "names.txt")
    with pytest.raises(UserError, match=r"cannot read the class map .*names\.txt: No such file"):
        source_of(moved)
    apart = spec.moved(data=tmp_path / "there", class_map=tmp_path / "names.txt")
    assert source_of(apart).labels.tolist() == labels
