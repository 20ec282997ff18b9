"""A folder of probes of a small model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bitfront.evaluators.latency.probes.folder import write_probes
from bitfront.evaluators.latency.timed_runtime import Subject
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig


def mixed(subject: Subject, *triples: tuple[int, int, int]) -> BitConfig:
    """A configuration whose encoders take precisions in turn."""
    wide = subject.widest
    encoders = [
        BitConfig.uniform(
            wide.model, wide.scheme, subject.prepared.blueprint.encoder_layers(), bits
        ).encoders[n]
        for n, bits in zip(range(len(wide.encoders)), triples * len(wide.encoders), strict=False)
    ]
    return BitConfig(wide.model, wide.scheme, tuple(encoders), wide.pinned)


@pytest.fixture(scope="session")
def probed(
    blueprint: Blueprint,
    calibration: Calibration,
    module: torch.nn.Module,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    subject = Subject(PreparedModel(blueprint, calibration, "deploy", (4, 8)), module)
    folder = tmp_path_factory.mktemp("probed") / "folder"
    anchors = [subject.uniform((8, 8, 8)), subject.uniform((4, 4, 4))]
    checks = [mixed(subject, (8, 8, 8), (4, 4, 4)), mixed(subject, (4, 8, 4), (8, 4, 8))]
    write_probes(folder, subject, ((8, 8, 8), (4, 4, 4)), anchors, checks)
    return folder


@pytest.fixture(scope="session")
def manifest(probed: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((probed / "manifest.json").read_text())
    return found
