"""What every quantization scheme keeps: subclass it with a fixture ``scheme`` to test one."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch
from quantized_cases import WIDTHS, Case, config_of, small_case

from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import SCHEMES, UserError, pinned_bits

PORTABLE = PortableKernels(torch.device("cpu"))


class SchemeContract:
    """Assembles every width of ViT and Swin, follows the float model at 8 bits, on any kernels."""

    @pytest.fixture
    def scheme(self) -> str:
        """Name of the scheme under test."""
        raise NotImplementedError("a subclass names its scheme")

    @pytest.fixture(params=["vit", "swin"])
    def family(self, request: pytest.FixtureRequest) -> str:
        """What kind of model."""
        return str(request.param)

    @pytest.fixture
    def case(self, family: str) -> Case:
        """A small model with images."""
        return _case(family)

    @pytest.fixture
    def prepared(self, family: str, scheme: str) -> PreparedModel:
        """The model at every width, with ranges by min-max and weights rounded to nearest."""
        return _prepared(family, scheme, None)

    def test_it_pins_widths_of_known_groups(self, scheme: str) -> None:
        assert scheme in SCHEMES
        assert dict(pinned_bits(scheme)).keys() >= {"embedding", "head"}

    def test_every_width_has_finite_logits_of_its_own(
        self, case: Case, prepared: PreparedModel, scheme: str
    ) -> None:
        images, seen = case.images[:4], []
        for bits in itertools.product(WIDTHS, repeat=3):
            model = prepared.assemble(config_of(case.blueprint, scheme, bits))
            logits = model(images)
            assert bool(logits.isfinite().all())
            assert torch.equal(logits, model(images))
            seen.append(logits)
        assert len({tuple(logits.flatten().tolist()) for logits in seen}) == len(seen)

    def test_it_follows_the_float_model_at_8_bits(
        self, case: Case, prepared: PreparedModel, scheme: str
    ) -> None:
        with torch.inference_mode():
            wanted = case.module(case.images)
        found = prepared.assemble(config_of(case.blueprint, scheme, (8, 8, 8)))(case.images)
        narrow = prepared.assemble(config_of(case.blueprint, scheme, (4, 4, 4)))(case.images)
        assert float((found - wanted).std()) < 0.5 * float((narrow - wanted).std())
        assert float((found - wanted).std()) < 0.5 * float(wanted.std())

    def test_both_sets_of_kernels_compute_alike(
        self, family: str, case: Case, prepared: PreparedModel, scheme: str
    ) -> None:
        portable = _prepared(family, scheme, PORTABLE)
        config = config_of(case.blueprint, scheme, (4, 8, 8))
        one, other = (model.assemble(config)(case.images) for model in (prepared, portable))
        assert float((one - other).abs().mean()) < 0.1 * float(one.std())

    def test_configurations_of_another_scheme_are_refused(
        self, case: Case, prepared: PreparedModel, scheme: str
    ) -> None:
        other = next(name for name in SCHEMES if name != scheme)
        with pytest.raises(UserError, match="scheme"):
            prepared.assemble(config_of(case.blueprint, other, (8, 8, 8)))


@cache
def _case(name: str) -> Case:
    return small_case(name, 64)


@cache
def _prepared(family: str, scheme: str, kernels: Kernels | None) -> PreparedModel:
    case = _case(family)
    calibration = case.calibration(scheme)
    return PreparedModel(case.blueprint, calibration, scheme, WIDTHS, "minmax", kernels=kernels)
