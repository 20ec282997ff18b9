"""The implementations of quantization schemes by the names of :data:`bitfront.spaces.SCHEMES`."""

from __future__ import annotations

from collections.abc import Callable

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.scheme import Scheme
from bitfront.spaces.schemes import DEPLOY, FQ_VIT, check_scheme


def scheme_named(name: str, blueprint: Blueprint, calibration: Calibration, kernels: Kernels) -> Scheme:
    """The scheme of that name for a model; raises :class:`UserError` for an unknown one."""
    from bitfront.evaluators.quantized.deploy import Deploy
    from bitfront.evaluators.quantized.fq_vit import FqVit

    check_scheme(name)
    made_by: dict[str, Callable[[Blueprint, Calibration, Kernels], Scheme]] = {FQ_VIT: FqVit, DEPLOY: Deploy}
    return made_by[name](blueprint, calibration, kernels)
