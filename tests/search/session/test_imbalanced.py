"""Searches on imbalanced data: what is traded off decides which points are on the front."""

from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from shared_data import SHARED

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.image_options import ImageOptions
from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.labels_table import read_labels_table
from bitfront.evaluators.models.loading import load_model
from bitfront.search import Run, RunSpec, search

WEIGHTS = SHARED / "deit_tiny" / "deit_tiny_patch16_224.pth"
IMAGES = SHARED / "cifar10" / "cifar10.tar"
# Of ten classes: the first has twelve times as many images as the last.
COUNTS = (96, 73, 55, 42, 32, 24, 18, 14, 11, 8)
FITTED = 180
# A third of the pixels, and of the time.
SIZE = (128, 128)

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.slow,
    pytest.mark.data,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not IMAGES.exists(), reason=f"needs the shared data: no {IMAGES}"),
]


def unpack(folder: Path) -> Path:
    """An imbalanced subset of CIFAR-10 with its labels.csv."""
    rows = []
    with tarfile.open(IMAGES) as archive:
        names = sorted({member.split("/")[1] for member in archive.getnames() if member.count("/") == 2})
        for label, (name, count) in enumerate(zip(names, COUNTS, strict=True)):
            for number in range(count):
                member = archive.extractfile(f"test/{name}/{number:04d}.jpg")
                assert member is not None
                path = folder / f"{name}-{number:04d}.jpg"
                path.write_bytes(member.read())
                rows.append((path.name, label))
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def fit_head(table: Path, folder: Path) -> Path:
    """DeiT-Tiny's weights with a head for ten classes, fitted to the features of some of the images."""
    model = load_model("deit_tiny_patch16_224", checkpoint=WEIGHTS, options=ImageOptions(image_size=SIZE))
    source = read_labels_table(table, "cifar10")
    chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:FITTED]
    images = load_images(source, chosen.sort().values.numpy(), model.data_config)
    with torch.inference_mode():
        parts = [model.module.forward_features(batch)[:, 0] for batch, _ in images.batches(32)]
    features, labels = torch.cat(parts).clone(), images.labels
    head = torch.nn.Linear(features.shape[1], len(COUNTS))
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(features), labels) + 1e-3 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    state = {**model.module.state_dict(), "head.weight": head.weight.data, "head.bias": head.bias.data}
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "head.safetensors")
    return folder / "head.safetensors"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The same search with three qualities; what was prepared is found in the cache from the second on."""
    folder = tmp_path_factory.mktemp("imbalanced")
    table = unpack(folder)
    evaluation = EvaluationSpec(
        model="deit_tiny_patch16_224", checkpoint=str(fit_head(table, folder)), data=str(table),
        image_size=SIZE,
        scheme="deploy", recipe="fq-vit", calibration_images=16, search_images=160, test_images=100,
        batch_size=16, threads=1,
    )  # fmt: skip
    spec = RunSpec(
        evaluation=evaluation,
        space="encoder",
        latency="model:bops",
        sampler="nsga2",
        evaluations=12,
        population=6,
    )
    return {
        quality: search(
            dataclasses.replace(spec, objectives=(quality, "size")),
            name=quality,
            runs_dir=folder / "runs",
            workers=0,
        )
        for quality in ("top1", "macro_f1", "roc_auc")
    }


def test_fronts_are_of_what_was_traded_off(runs: dict[str, Run]) -> None:
    for quality, run in runs.items():
        assert run.quality.name == quality
        measured = run.trials[run.trials["feasible"]]
        assert {"top1", quality} <= set(measured.columns)
        # Top-1 is estimated; other metrics are taken as measured. A thousandth of the size is no difference.
        deciding = f"{quality}_estimate" if quality == "top1" else quality
        points = run.front[[deciding, "size_bytes"]].to_numpy() * [-1, 1]
        for value, size in measured[[deciding, "size_bytes"]].to_numpy():
            assert ((points <= [-value, 1.001 * size]).all(axis=1)).any(), "a trial beats the front"
        assert run.front[f"test_{quality}"].notna().all()
    fronts = {quality: tuple(run.front["digest"]) for quality, run in runs.items()}
    assert fronts["macro_f1"] != fronts["top1"]
    assert fronts["roc_auc"] != fronts["top1"]


def test_differences_to_float_have_bootstrap_errors(runs: dict[str, Run]) -> None:
    tested = runs["macro_f1"].trials.set_index("trial").loc[runs["macro_f1"].front["trial"]]
    assert (tested["test_difference_standard_error"] > 0).all()
    assert "test_difference_standard_error" not in runs["top1"].trials.columns


def test_tables_and_pictures_name_the_quality(runs: dict[str, Run]) -> None:
    run = runs["macro_f1"]
    assert "macro-F1" in run._repr_html_()
    figures = run.figures()
    assert figures["front_size"].axes[0].get_ylabel() == "macro-F1 on the search split (%)"
    assert "macro-F1 (%)" in {text.get_text() for text in figures["bit_map"].axes[0].texts}
