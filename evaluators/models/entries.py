"""Entries of a checkpoint: the sets of weights in one file, and which of them is taken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from bitfront.spaces import UserError

Tensors = Mapping[str, torch.Tensor]

WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema", "ema")
_DEEPEST = 3  # entries within entries
# What training scripts keep beside weights: none of these holds a model.
_NO_MODELS = re.compile(r"optim|sched|scaler|^amp|^args$|config|callbacks|loops|hyper_parameters|history|rng")
_AVERAGED = re.compile(r"(^|_)(ema|teacher|swa|avg|averaged|shadow)(_|$)")
# As timm looks for them, and others: those of a lower rank are taken first.
_RANKS = {"state_dict_ema": 0, "model_ema": 1, "state_dict": 3, "model": 4, "student": 4}
_AVERAGED_RANK, _OTHER_RANK, _FOREIGN_RANK = 2, 5, 6
# A model's first layer, by which its prefix is found: in timm's names and in those of transformers.
_FIRST = re.compile(
    r"^(.*?)(patch_embed\.proj|(?:(?:vit|deit|swin)\.)?embeddings\.patch_embeddings\.projection)\.weight$"
)
_PREFIXES = ("module.", "_orig_mod.", "model.", "timm_model.")
# Tensors that training scripts keep in a module beside the model.
_BESIDE = re.compile(
    r"(^|\.)(\w*criterion|\w*loss\w*|n_averaged|\w*metrics?|\w*acc(uracy)?\w*|num_updates|decay)(\.|$)"
)


@dataclass(frozen=True, eq=False)
class Entry:
    """One set of weights of a file.

    Attributes:
        name: Where it is, with a dot between the names of entries within entries; empty for the file itself.
        state: Its tensors, without prefixes that all of them bear.
        left_out: Tensors beside the model.
        others: Entries with other weights of the same model.
    """

    name: str
    state: Tensors
    left_out: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def chosen_entry(content: object, path: Path, asked: str | None) -> Entry:
    """The weights to take of what a file holds.

    Args:
        content: What was read.
        path: The file, for messages.
        asked: The entry that was asked for; None for averaged weights where there are some, as timm has it.

    Raises:
        UserError: There are none, not the one that was asked for, or several of which none is the usual one.
    """
    found = [part for name, state in _states(content, "", 0) for part in _models(name, state)]
    if not found:
        raise UserError(
            f"{path} does not hold a state dict; expected named tensors, plain or under {', '.join(WRAPPERS)}"
        )
    whole = [entry for entry in found if any(map(_FIRST.match, entry.state))]
    if asked is not None:
        return _asked(found, whole or found, path, asked)
    entries = _ranked(whole or found)
    (rank, first), *rest = entries
    if rank == _OTHER_RANK and rest:
        names = ", ".join(entry.name for _, entry in entries)
        raise UserError(
            f"{path} holds several sets of weights ({names}): say which with --checkpoint {path}:{first.name}"
        )
    others = tuple(entry.name for _, entry in rest if not _equal(entry.state, first.state))
    return Entry(first.name, first.state, first.left_out, others)


def _asked(found: list[Entry], whole: list[Entry], path: Path, asked: str) -> Entry:
    for entry in found:
        if entry.name == asked:
            others = tuple(other.name for other in whole if not _equal(other.state, entry.state))
            return Entry(entry.name, entry.state, entry.left_out, others)
    names = ", ".join(entry.name for entry in whole if entry.name)
    had = f"its entries are {names}" if names else "it holds one set of weights and no entries: give the file"
    raise UserError(f"{path} has no weights under {asked!r}; {had}")


def _states(value: object, name: str, depth: int) -> list[tuple[str, Tensors]]:
    """Mappings of names to tensors, by where they are."""
    if not isinstance(value, Mapping) or not value:
        return []
    if all(isinstance(key, str) for key in value) and all(
        isinstance(part, torch.Tensor) for part in value.values()
    ):
        return [(name, value)]
    if depth == _DEEPEST:
        return []
    inner = [
        (key, part) for key, part in value.items() if isinstance(key, str) and not _NO_MODELS.search(key)
    ]
    return [
        found for key, part in inner for found in _states(part, f"{name}.{key}" if name else key, depth + 1)
    ]


def _models(name: str, state: Tensors) -> list[Entry]:
    """The models in a state dict: one, or those of a module with several, such as a student and a teacher."""
    roots = sorted({found[1] for key in state if (found := _FIRST.match(key))}, key=len, reverse=True)
    if not roots:
        return [Entry(name, _without_prefixes(state))]
    parts: dict[str, dict[str, torch.Tensor]] = {root: {} for root in roots}
    beside: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        root = next((root for root in roots if key.startswith(root)), None)
        if root is None or (_BESIDE.search(key.removeprefix(root)) and not root):
            beside[key] = value
        else:
            parts[root][key.removeprefix(root)] = value
    if not all(map(_BESIDE.search, beside)):
        return [Entry(name, _without_prefixes(state))]
    if len(roots) == 1:
        return [Entry(name, parts[roots[0]], tuple(beside))]
    named = {root: ".".join(filter(None, (name, root.rstrip(".")))) for root in roots}
    return [Entry(named[root], parts[root], tuple(beside)) for root in reversed(roots)]


def _without_prefixes(state: Tensors) -> Tensors:
    """A state dict without what wrappers put before every name, and without those that timm takes off any."""
    while state and (prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in state)), None)):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    cleaned = {_cleaned(name): value for name, value in state.items()}
    return cleaned if len(cleaned) == len(state) else state


def _cleaned(name: str) -> str:
    """As timm's ``clean_state_dict``."""
    return name.removeprefix("_orig_mod.").removeprefix("module.").removeprefix("_orig_mod.")


def _ranked(entries: list[Entry]) -> list[tuple[int, Entry]]:
    """Entries with their ranks, those to be taken first at the front."""
    plain = next((entry for entry in entries if _rank(entry.name) > _AVERAGED_RANK), None)

    def ranked(entry: Entry) -> int:
        rank = _rank(entry.name)
        # A teacher of another architecture is no average of the student.
        foreign = rank == _AVERAGED_RANK and plain is not None and _shapes(plain) != _shapes(entry)
        return _FOREIGN_RANK if foreign else rank

    return sorted(((ranked(entry), entry) for entry in entries), key=lambda pair: pair[0])


def _rank(name: str) -> int:
    parts = name.split(".")
    ranks = [_RANKS[part] for part in parts if part in _RANKS]
    averaged = any(part not in _RANKS and _AVERAGED.search(part) for part in parts)
    if averaged and min(ranks, default=_OTHER_RANK) > _AVERAGED_RANK:
        return _AVERAGED_RANK
    return min(ranks, default=_OTHER_RANK)


def _shapes(entry: Entry) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in entry.state.items()}


def _equal(left: Tensors, right: Tensors) -> bool:
    """Whether two entries hold the same weights."""
    if left.keys() != right.keys():
        return False
    return all(_same(value, right[name]) for name, value in left.items())


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.layout is not torch.strided or right.layout is not torch.strided or left.is_meta or right.is_meta:
        return left is right
    return left.shape == right.shape and left.dtype == right.dtype and bool((left == right).all())
