"""The observers of activation ranges by name, with what each does; loads numpy and torch only to make one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.evaluators.quantizers.observers import RangeObserver

OBSERVERS: dict[str, str] = {
    "auto": "least squared error, but full ranges for LayerNorm outputs and clipped ones for attention",
    "minmax": "the full range that was seen",
    "ema": "moving averages of each batch's smallest and largest value",
    "percentile": "the range that leaves out the outermost 0.01 % of the values",
    "omse": "least squared error (OMSE, arXiv 1902.06822)",
    "sigma": "LayerNorm outputs by magnitude and standard deviation (VQ-ViT), the full range of others",
}


def check_observer(name: str) -> None:
    """Raises :class:`UserError` for an unknown observer, without loading one."""
    if name not in OBSERVERS:
        raise UserError(f"unknown observer {name!r}: choose one of {', '.join(OBSERVERS)}")


def observer_named(name: str) -> RangeObserver:
    """The observer of that name; raises :class:`UserError` for an unknown one."""
    from bitfront.evaluators.quantizers import observers

    check_observer(name)
    made_by: dict[str, Callable[[], RangeObserver]] = {
        "auto": observers.AutoObserver,
        "minmax": observers.MinMaxObserver,
        "ema": observers.EmaObserver,
        "percentile": observers.PercentileObserver,
        "sigma": observers.SigmaObserver,
        "omse": observers.OmseObserver,
    }
    return made_by[name]()
