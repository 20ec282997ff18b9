"""What the codes of a prepared model's activations stand for, by site and width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitfront.spaces import QuantSite, pinned_bits

if TYPE_CHECKING:
    from bitfront.evaluators.context import EvaluationContext


def site_widths(context: EvaluationContext, site: QuantSite) -> tuple[int, ...]:
    """The widths that a site may take: those prepared, or the one it is pinned to."""
    return (dict(pinned_bits(context.spec.scheme))[site.layer],) if site.pinned else context.prepared.widths


def site_grids(context: EvaluationContext, site: QuantSite) -> dict[str, dict[str, Any]] | None:
    """The grid of an activation site at each of its widths; None for weights.

    ``low`` and ``high`` are the least and the greatest value that has a code and ``scale`` the step between
    codes; a residual stream has the step of its finest channels and an exponent for each. Sites that take
    levels have those in addition, and logarithmic attention has the base alone.
    """
    from bitfront.evaluators.site_roles import is_residual

    if site.kind == "weights":
        return None
    widths = site_widths(context, site)
    if is_residual(site.name):
        return {str(bits): _stream(context, site) for bits in widths}
    return {str(bits): _grid(context, site, bits) for bits in widths}


def _stream(context: EvaluationContext, site: QuantSite) -> dict[str, Any]:
    grid = context.prepared.calibration.stream(site.name)
    low, high = ((code - grid.zero_point) * float(grid.channel_scales.max()) for code in (0, grid.qmax))
    exponents = [int(exponent) for exponent in grid.exponents]
    return _described(low, high, grid.scale, grid.zero_point) | {"exponents": exponents}


def _grid(context: EvaluationContext, site: QuantSite, bits: int) -> dict[str, Any]:
    from bitfront.evaluators.quantized.attention import LOG_BITS

    prepared = context.prepared
    if site.kind == "attention" and bits <= LOG_BITS and site.encoder is not None:
        return {"log2_base": prepared.log_steps[site.encoder]}
    grid = prepared.calibration.grid(site.name, bits)
    levels = prepared.calibration.levels.get((site.name, bits))
    codes = [0, grid.qmax] if levels is None else sorted(set(levels.tolist()))
    values = [(code - grid.zero_point) * grid.scale for code in codes]
    described = _described(values[0], values[-1], grid.scale, grid.zero_point)
    return described if levels is None else described | {"levels": values}


def _described(low: float, high: float, scale: float, zero_point: int) -> dict[str, Any]:
    return {"low": low, "high": high, "scale": scale, "zero_point": zero_point}
