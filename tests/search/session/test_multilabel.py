"""Data with any number of labels to an image, from a search to a verified file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.deployment.predict import Model
from bitfront.evaluators.models.loading import load_model
from bitfront.search import EvaluationSpec, Run, RunSpec, UserError, search

NAMES = ("even", "prime", "large", "of_three")
LABELS = np.array([[d % 2 == 0, d in (2, 3, 5, 7), d >= 5, d % 3 == 0] for d in range(10)], dtype=np.int64)


class Properties:
    """Scans of digits with what is true of each number."""

    classes = NAMES

    def __init__(self) -> None:
        digits = load_digits()
        self.images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        self.labels = LABELS[digits.target]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.labels[index]


def fitted_model() -> Any:
    """The embedded model with a head that says what is true of a digit, from what it says of digits."""
    loaded = load_model("digits_deit")
    module: Any = loaded.module
    head = torch.nn.Linear(module.head.in_features, len(NAMES))
    source = open_source("digits")
    images = load_images(source, np.arange(len(source)), loaded.data_config)
    with torch.no_grad():
        batches = [module.forward_features(batch) for batch, _ in images.batches(256)]
        features = module.forward_head(torch.cat(batches), pre_logits=True).clone()
    labels = torch.from_numpy(LABELS[source.labels]).float()
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=60)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(features), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    module.head, module.num_classes = head, len(NAMES)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    spec = RunSpec(
        evaluation=EvaluationSpec(model="digits_deit",
            task="multilabel", scheme="deploy", recipe="fq-vit", calibration_images=32, search_images=200,
            test_images=200, metrics=("macro_f1",), threads=1, batch_size=50,
        ),
        latency="model:bops", evaluations=8, max_drop="map=30",
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("runs")
    return search(spec, model=fitted_model(), data=Properties(), name="r", runs_dir=folder, workers=0)


def test_the_labels_of_the_data_are_those_of_the_run(run: Run) -> None:
    source = open_source(run.evaluation["data"])
    assert source.class_names == NAMES
    given = Properties()
    assert source.labels.shape == (432, 4), "as many as the splits take"
    numbers = [int(Path(source.describe(index)).stem) for index in range(len(source))]
    assert (source.labels == given.labels[numbers]).all()


def test_the_front_is_of_mean_average_precision(run: Run) -> None:
    assert run.objectives == ("map", "latency", "size")
    assert run.quality.title == "mAP"
    assert [limit.label for limit in run.limits][-1] == "--max-drop 30"
    float_model = run.float_reference
    assert float_model is not None
    assert float_model.values["map"] > 90.0
    columns = ["map", "test_map", "loss"]
    assert run.front[columns].notna().all().all()
    assert (run.front["map"] >= float_model.values["map"] - 30.0).all()
    assert {"exact_match", "kl", "agreement", "macro_f1", "test_lost"} <= set(run.trials.columns)
    assert "mAP" in run._repr_html_()
    assert set(run.figures()) >= {"front", "bit_map"}


def test_an_evaluation_is_that_of_scikit_learn(run: Run) -> None:
    found = run.evaluate("size").to_json()
    assert found["task"] == "multilabel"
    assert found["map"] == pytest.approx(float(run.pick("size")["test_map"]), abs=1e-4)
    assert found["map_standard_error"] > 0.0
    assert found["exact_match_difference"] == pytest.approx(found["exact_match"] - found["fp32_exact_match"])
    from bitfront.evaluators.context.context import EvaluationContext

    context = EvaluationContext.from_spec(EvaluationSpec.from_json(run.evaluation))
    logits = context.logits(run.config("size"), "test").double().numpy()
    expected = 100 * average_precision_score(context.images("test").labels.numpy(), logits, average="macro")
    assert found["map"] == pytest.approx(expected, rel=1e-5)


def test_an_exported_file_is_verified_by_labels_and_metrics(run: Run) -> None:
    exported = run.export("size", format="onnx")
    assert exported.passed
    figures = exported.to_json()["verification"]
    assert figures["exact_match"] == pytest.approx(
        figures["evaluator_exact_match"], abs=figures["largest_exact_match_difference"]
    )
    for name in ("map", "macro_f1"):
        assert abs(figures[name] - figures[f"evaluator_{name}"]) < 3.0
    assert figures["metrics"] == ["map", "macro_f1"]
    assert run.verify(exported.path).passed
    # The program of the folder gives every label above a half, and no other.
    assert exported.folder is not None
    rows = list(csv.DictReader((exported.folder / "verification.csv").read_text().splitlines()))
    model = Model(exported.folder, threads=1)
    data = Path(run.evaluation["data"]).parent
    for row in rows[:5]:
        found = model.predict(data / row["image"], top=1)
        given = "; ".join(
            guess.name for guess in sorted(found, key=lambda guess: guess.index) if guess.decided
        )
        assert given == row["predicted_name"]


def test_data_of_one_label_are_refused(tmp_path: Path) -> None:
    spec = RunSpec(
        evaluation=EvaluationSpec(model="digits_deit", scheme="fq-vit", task="multilabel"), evaluations=2
    )
    with pytest.raises(UserError, match="digits has one label to an image, and the task takes any number"):
        search(spec, name="r", runs_dir=tmp_path, workers=0)
