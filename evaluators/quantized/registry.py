"""The quantization schemes by name: the only place where they stand."""

from __future__ import annotations

from collections.abc import Callable

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.scheme import Scheme
from bitfront.spaces import UserError


def scheme_named(name: str, blueprint: Blueprint, calibration: Calibration, kernels: Kernels) -> Scheme:
    """The scheme of that name for a model; raises :class:`UserError` for an unknown one."""
    from bitfront.evaluators.quantized import deploy, fq_vit
    from bitfront.evaluators.quantized.deploy import Deploy
    from bitfront.evaluators.quantized.fq_vit import FqVit

    known: dict[str, Callable[[Blueprint, Calibration, Kernels], Scheme]] = {
        fq_vit.NAME: FqVit,
        deploy.NAME: Deploy,
    }
    if name not in known:
        raise UserError(f"unknown scheme {name!r}: choose one of {', '.join(known)}")
    return known[name](blueprint, calibration, kernels)
