"""Quantization schemes by name: what each computes in integers, and the widths that it does not search."""

from __future__ import annotations

from dataclasses import dataclass

from bitfront.spaces.choices import Choices
from bitfront.spaces.errors import UserError
from bitfront.spaces.formats import FORMATS

FQ_VIT, DEPLOY = "fq-vit", "deploy"
# Stands for the scheme that suits where latency comes from, until that is known.
AUTO = "auto"


@dataclass(frozen=True)
class SchemeKind:
    """A scheme as the user chooses it.

    Attributes:
        summary: What it is, in a few words.
        pinned: Widths of the groups of tensors that are not searched, as (group, bits) pairs by group name.
    """

    summary: str
    pinned: tuple[tuple[str, int], ...]


SCHEMES: dict[str, SchemeKind] = {
    FQ_VIT: SchemeKind(
        "everything in integers, for integer accelerators",
        (("embedding", 8), ("head", 8), ("residual", 8), ("scores", 8)),
    ),
    DEPLOY: SchemeKind(
        "matrix products in integers, the rest in float, as CPU runtimes compute",
        (("embedding", 8), ("head", 8)),
    ),
}


def check_scheme(name: str) -> None:
    """Raises :class:`UserError` for an unknown scheme."""
    if name not in SCHEMES:
        raise UserError(f"unknown scheme {name!r}: choose one of {', '.join(SCHEMES)}")


def pinned_bits(scheme: str) -> tuple[tuple[str, int], ...]:
    """Widths of the tensors that a scheme does not search, as sorted (group, bits) pairs.

    Raises:
        UserError: There is no such scheme.
    """
    check_scheme(scheme)
    return SCHEMES[scheme].pinned


def check_formats(choices: Choices, scheme: str) -> None:
    """Refuses formats that a scheme does not compute with.

    Raises:
        UserError: The scheme is all integers, and a format is none of the plain ones.
    """
    others = [FORMATS[value].name for value in choices.every if not FORMATS[value].plain]
    if others and scheme == FQ_VIT:
        raise UserError(
            f"scheme {FQ_VIT} takes plain integers alone, not {', '.join(others)}: use --scheme {DEPLOY}"
        )
