"""What is shipped names no folders, and what names none finds them again by its run or its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.export.places import (
    check_places,
    evaluation_without_folders,
    lost_places,
    with_folders,
    without_folders,
)
from bitfront.spaces import UserError

PLACES = {
    "model": "deit_tiny_patch16_224",
    "checkpoint": "/home/me/w.pth:model_ema",
    "data": "/home/me/photos",
    "calibration_data": "/home/me/other/labels.csv",
    "test_data": "/home/me/photos/test",
    "class_map": "/home/me/map.txt",
    "scheme": "deploy",
    "seed": 3,
}


def document(**evaluation: Any) -> dict[str, Any]:
    measured = {"top1": 80.0, "latency_source": "table:/home/me/t.csv"}
    return {
        "model": evaluation.get("model", PLACES["model"]),
        "measured": measured,
        "provenance": {"run": "mine", "evaluation": {**PLACES, **evaluation}},
    }


def test_names_stay() -> None:
    found = without_folders(document())
    assert found["provenance"]["evaluation"] == {
        **PLACES,
        "checkpoint": ".../w.pth:model_ema",
        "data": ".../photos",
        "calibration_data": ".../labels.csv",
        "test_data": ".../photos/test",
        "class_map": ".../map.txt",
    }
    assert found["measured"] == {"top1": 80.0, "latency_source": "table:t.csv"}
    assert without_folders(found) == found
    assert "/home" not in json.dumps(found)


@pytest.mark.parametrize(
    ("data", "short"),
    [
        ("digits", "digits"),
        ("cifar10", "cifar10"),
        ("cifar10:/data/cifar", "cifar10:.../cifar"),
        ("photos/", ".../photos"),
        (r"C:\\Users\\me\\photos", ".../photos"),
    ],
)
def test_data(data: str, short: str) -> None:
    assert evaluation_without_folders({"data": data, "checkpoint": None}) == {
        "data": short,
        "checkpoint": None,
    }


def test_models_of_folders_are_places() -> None:
    found = without_folders(document(model="local-dir:/home/me/vit"))
    assert found["model"] == found["provenance"]["evaluation"]["model"] == "local-dir:.../vit"
    hub = without_folders(document(model="hf-hub:timm/vit"))
    assert hub["model"] == "hf-hub:timm/vit"


class TestFound:
    @pytest.fixture(autouse=True)
    def _elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BITFRONT_RUNS", str(tmp_path / "no runs"))

    def run(self, folder: Path, **evaluation: Any) -> None:
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps({"evaluation": {**PLACES, **evaluation}}))

    @pytest.mark.parametrize("place", ["exports/m.onnx", "exports/knee-onnx/model.onnx"])
    def test_in_the_folder_of_the_run(self, tmp_path: Path, place: str) -> None:
        self.run(tmp_path / "any name", model="local-dir:/home/me/vit")
        whole = document(model="local-dir:/home/me/vit")
        short = without_folders(whole)
        found = with_folders(short, tmp_path / "any name" / place)
        assert found["model"] == "local-dir:/home/me/vit"
        assert found["provenance"] == whole["provenance"]

    def test_by_the_name_of_the_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run(tmp_path / "runs" / "mine")
        short, path = without_folders(document()), tmp_path / "m.onnx"
        assert with_folders(short, path) == short
        assert set(lost_places(short, path, PLACES)) == {
            "checkpoint", "data", "calibration_data", "test_data", "class_map",
        }  # fmt: skip
        monkeypatch.setenv("BITFRONT_RUNS", str(tmp_path / "runs"))
        assert with_folders(short, path)["provenance"] == document()["provenance"]
        assert lost_places(short, path, PLACES) == {}

    @pytest.mark.parametrize("change", [{"seed": 4}, {"scheme": "fq-vit"}])
    def test_not_by_another_run(self, tmp_path: Path, change: dict[str, Any]) -> None:
        self.run(tmp_path / "mine", **change)
        short = without_folders(document())
        assert with_folders(short, tmp_path / "mine" / "exports" / "m.onnx") == short

    def test_places_of_other_names_are_left(self, tmp_path: Path) -> None:
        self.run(tmp_path / "mine", data="/home/me/elsewhere")
        found = with_folders(without_folders(document()), tmp_path / "mine" / "exports" / "m.onnx")
        assert found["provenance"]["evaluation"]["data"] == ".../photos"
        assert found["provenance"]["evaluation"]["checkpoint"] == PLACES["checkpoint"]

    @pytest.mark.parametrize("content", ["", "[]", "{", '{"evaluation": 5}', "{}"])
    def test_not_by_what_is_no_run(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "spec.json").write_text(content)
        short = without_folders(document())
        assert with_folders(short, tmp_path / "m.onnx") == short

    @pytest.mark.parametrize("run", ["../mine", "/etc", "", 5, None])
    def test_names_of_runs_are_no_paths(self, tmp_path: Path, run: object) -> None:
        self.run(tmp_path / "mine")
        short = without_folders(document())
        short["provenance"]["run"] = run
        assert with_folders(short, tmp_path / "a" / "b" / "c" / "d" / "m.onnx") == short

    def test_documents_of_earlier_versions_have_them(self, tmp_path: Path) -> None:
        self.run(tmp_path / "mine", data="/home/me/other/photos")
        assert with_folders(document(), tmp_path / "mine" / "exports" / "m.onnx") == document()
        for odd in ({}, {"provenance": None}, {"provenance": {"evaluation": []}}):
            assert with_folders(odd, tmp_path / "m.onnx") == odd


def test_what_is_lost_is_asked_for() -> None:
    spec = EvaluationSpec.from_json({**evaluation_without_folders(PLACES)})
    with pytest.raises(UserError) as found:
        check_places(spec, Path("m.onnx"))
    assert str(found.value).startswith(
        "m.onnx names w.pth:model_ema, photos, labels.csv, photos/test, map.txt"
    )
    assert str(found.value).endswith(
        "--checkpoint and --data and --calibration-data and --test-data and --class-map"
    )
    # Test images that lay in the folder of the data move with it.
    moved = spec.moved(data="/mnt/photos", checkpoint="/mnt/w.pth")
    assert (moved.data, moved.test_data) == ("/mnt/photos", "/mnt/photos/test")
    with pytest.raises(UserError, match=r"labels\.csv, map\.txt without a folder"):
        check_places(moved, "it")
    check_places(moved, "it", ("data", "test_data", "checkpoint"))
