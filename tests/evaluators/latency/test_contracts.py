"""Every timed runtime, and the costs, keep their contracts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from evaluator_contracts import TimedRuntimeContract
from search_contracts import CostModelContract

from bitfront.evaluators.deployment.runtimes.registry import runtime_is_installed
from bitfront.evaluators.latency.costs import ModelCosts
from bitfront.evaluators.latency.energy import energy_cost
from bitfront.evaluators.latency.hardware_profile import profile_named
from bitfront.evaluators.latency.registry import TIMED_RUNTIMES, timed_runtime_named
from bitfront.evaluators.latency.roofline import model_table
from bitfront.evaluators.latency.table import TableLatency, timed_encoders
from bitfront.evaluators.latency.timed_runtime import Subject, TimedRuntime
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.preparation.calibration import calibrate
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import EncoderLayers, SearchSpace, triples


@pytest.fixture(scope="module", params=["fq-vit", "deploy"])
def subject(
    request: pytest.FixtureRequest, blueprint: Blueprint, module: torch.nn.Module, images: torch.Tensor
) -> Subject:
    scheme = request.param
    calibration = calibrate(blueprint, lambda: [images], (4, 8), observer_named("minmax"), scheme)
    return Subject(PreparedModel(blueprint, calibration, scheme, (4, 8), keep_codes=True), module)


class TestTimedRuntimes(TimedRuntimeContract):
    @pytest.fixture(params=TIMED_RUNTIMES)
    def timer(self, request: pytest.FixtureRequest, subject: Subject) -> TimedRuntime:
        if request.param != "torch" and not runtime_is_installed(request.param):
            pytest.skip(f"{request.param} is not installed")
        if subject.prepared.scheme not in TIMED_RUNTIMES[request.param].schemes:
            pytest.skip(f"{request.param} does not run {subject.prepared.scheme}")
        return timed_runtime_named(request.param, subject.prepared.scheme)


class TestModelCosts(CostModelContract):
    @pytest.fixture
    def cost(self, subject: Subject) -> ModelCosts:
        prepared = subject.prepared
        table = model_table(profile_named("bops"), prepared.blueprint, (4, 8), prepared.scheme)
        sizes = SizeModel(
            prepared.blueprint, trace_sites(prepared.blueprint, prepared.scheme), prepared.scheme
        )
        energy = energy_cost(profile_named("horowitz45"), prepared.blueprint, (4, 8), prepared.scheme)
        latency = TableLatency(table, timed_encoders(prepared.blueprint), triples((4, 8)))
        return ModelCosts(latency, sizes, {"energy_mj": energy})

    @pytest.fixture
    def space(self, subject: Subject, layers_of: Callable[[Blueprint], list[EncoderLayers]]) -> SearchSpace:
        prepared = subject.prepared
        layers = layers_of(prepared.blueprint)
        return SearchSpace(prepared.blueprint.name, prepared.scheme, layers, (4, 8), "encoder-kind")
