"""The stages of every scheme keep the contract."""

from __future__ import annotations

import pytest
import torch
from evaluator_contracts import StagesContract

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.calibration import calibrate
from bitfront.evaluators.quantized.kernels.backend import kernels_for
from bitfront.evaluators.quantized.parts import scheme_named
from bitfront.evaluators.quantized.scheme import Scheme
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import SCHEMES


class TestStages(StagesContract):
    @pytest.fixture(params=SCHEMES)
    def scheme(self, request: pytest.FixtureRequest, blueprint: Blueprint, images: torch.Tensor) -> Scheme:
        calibration = calibrate(blueprint, lambda: [images], (4, 8), observer_named("minmax"), request.param)
        return scheme_named(request.param, blueprint, calibration, kernels_for(torch.device("cpu")))
