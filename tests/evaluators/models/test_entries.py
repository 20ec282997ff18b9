"""Which weights of a file are taken: averaged ones, entries by name, models within modules, any prefixes."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitfront.evaluators.models.checkpoint import read_checkpoint
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

State = dict[str, torch.Tensor]
QUICK = settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def weights(value: float) -> State:
    """Enough of a ViT to be known as one."""
    return {
        "cls_token": torch.full((1, 1, 4), value),
        "patch_embed.proj.weight": torch.full((4, 3, 2, 2), value),
        "head.weight": torch.full((10, 4), value),
    }


RAW, MEAN = weights(1.0), weights(2.0)


def saved(content: object, folder: Path, name: str = "c.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def taken(path: Path, entry: str | None = None) -> tuple[float, str, tuple[str, ...]]:
    """The value of the weights that are taken, their entry and the others."""
    found = read_checkpoint(path, entry)
    assert set(found.state) == set(RAW)
    return float(found.state["cls_token"].mean()), found.entry, found.others


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    ("content", "entry", "others"),
    [
        ({"state_dict": RAW, "state_dict_ema": MEAN}, "state_dict_ema", ("state_dict",)),
        ({"state_dict_ema": MEAN, "state_dict": RAW}, "state_dict_ema", ("state_dict",)),
        ({"model": RAW, "model_ema": MEAN}, "model_ema", ("model",)),
        ({"model": RAW, "ema": prefixed(MEAN, "module.")}, "ema", ("model",)),
        ({"student": RAW, "teacher": MEAN}, "teacher", ("student",)),
        (
            {"model": {"state_dict": RAW, "ema_state_dict": MEAN}},
            "model.ema_state_dict",
            ("model.state_dict",),
        ),
        ({"state": {"net": RAW, "swa_net": MEAN}}, "state.swa_net", ("state.net",)),
        (
            {"state_dict": prefixed(RAW, "model.") | prefixed(MEAN, "ema_model.module.")},
            "state_dict.ema_model.module",
            ("state_dict.model",),
        ),
        (prefixed(RAW, "student.") | prefixed(MEAN, "teacher."), "teacher", ("student",)),
    ],
)
def test_averaged_weights_are_taken(
    tmp_path: Path, content: Any, entry: str, others: tuple[str, ...]
) -> None:
    path = saved({**content, "epoch": 3} if len(content) < 3 else content, tmp_path)
    assert taken(path) == (2.0, entry, others)
    assert taken(path, others[0]) == (1.0, others[0], (entry,))
    assert taken(path, entry) == (2.0, entry, others)
    (note,) = read_checkpoint(path).notes()
    assert note == (
        f"weights: {path} holds several: {entry} is taken, not {others[0]} "
        f"(--checkpoint FILE:{others[0]} takes another)"
    )
    assert read_checkpoint(path).origin == f"checkpoint {path}, entry {entry} (there are also {others[0]})"


def test_equal_ones_need_no_word(tmp_path: Path) -> None:
    path = saved({"model": RAW, "model_ema": {name: value.clone() for name, value in RAW.items()}}, tmp_path)
    found = read_checkpoint(path)
    assert (found.others, found.notes(), found.origin) == ((), (), f"checkpoint {path}")


def test_a_teacher_of_another_architecture_is_no_average(tmp_path: Path) -> None:
    teacher = {**MEAN, "cls_token": torch.ones(1, 1, 9)}
    assert taken(saved({"model": RAW, "teacher": teacher}, tmp_path)) == (1.0, "model", ("teacher",))


def test_optimizers_hold_no_weights(tmp_path: Path) -> None:
    content = {"model": RAW, "optimizer": {"state": dict(MEAN)}, "optimizer_ema": dict(MEAN)}
    assert taken(saved(content, tmp_path)) == (1.0, "model", ())


def test_several_without_a_usual_name_are_refused(tmp_path: Path) -> None:
    path = saved({"a": RAW, "b": MEAN}, tmp_path)
    with pytest.raises(
        UserError, match=r"several sets of weights \(a, b\): say which with --checkpoint .*:a$"
    ):
        read_checkpoint(path)
    assert taken(path, "b") == (2.0, "b", ("a",))


def test_unknown_entries_list_those_there_are(tmp_path: Path) -> None:
    path = saved({"model": RAW, "model_ema": MEAN}, tmp_path)
    with pytest.raises(UserError, match=r"no weights under 'ema'; its entries are model, model_ema$"):
        read_checkpoint(path, "ema")
    with pytest.raises(UserError, match=r"it holds one set of weights and no entries: give the file$"):
        read_checkpoint(saved(RAW, tmp_path), "model")


def test_tensors_beside_the_model_are_left_out_and_said(tmp_path: Path) -> None:
    state = {**prefixed(RAW, "model."), "criterion.weight": torch.ones(10), "train_acc.total": torch.ones(1)}
    found = read_checkpoint(saved({"state_dict": state}, tmp_path))
    assert set(found.state) == set(RAW)
    assert found.notes() == (
        f"weights: left out of {tmp_path / 'c.pth'}, beside the model: criterion.weight, train_acc.total",
    )


def test_other_tensors_beside_it_are_kept_to_be_refused(tmp_path: Path) -> None:
    state = {**prefixed(RAW, "backbone."), "fc.weight": torch.ones(10, 4)}
    assert "fc.weight" in read_checkpoint(saved(state, tmp_path)).state


@QUICK
@given(
    wrappings=st.lists(st.sampled_from(["state_dict", "model", "net", "weights"]), max_size=3),
    prefixes=st.lists(
        st.sampled_from(["module.", "_orig_mod.", "model.", "timm_model.", "net."]), max_size=4
    ),
    average=st.sampled_from([None, "state_dict_ema", "model_ema"]),
    junk=st.dictionaries(
        st.text(string.ascii_lowercase, min_size=1, max_size=5),
        st.one_of(st.integers(), st.text(max_size=5), st.lists(st.floats()), st.none()),
        max_size=3,
    ),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn]),
)
def test_any_nesting_prefix_and_dtype(
    tmp_path: Path,
    wrappings: list[str],
    prefixes: list[str],
    average: str | None,
    junk: dict[str, Any],
    dtype: torch.dtype,
) -> None:
    bear = "".join(prefixes)
    content: Any = {bear + name: value.to(dtype) for name, value in RAW.items()}
    for name in wrappings:
        content = {**junk, name: content}
    if average is not None and wrappings:
        content[average] = {bear + name: value.to(dtype) for name, value in MEAN.items()}
    path = saved(content, tmp_path)
    expected = 2.0 if average is not None and wrappings else 1.0
    assert taken(path)[0] == expected
    assert all(value.dtype is torch.float32 for value in read_checkpoint(path).state.values())


@QUICK
@given(
    names=st.lists(
        st.sampled_from(["state_dict", "state_dict_ema", "model", "model_ema"]), min_size=1, unique=True
    ),
    prefix=st.sampled_from(["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]),
)
def test_it_is_what_timm_takes(tmp_path: Path, names: list[str], prefix: str) -> None:
    ensure_torchvision()
    from timm.models import load_state_dict

    content = {name: prefixed(weights(float(i)), prefix) for i, name in enumerate(names)}
    path = saved(content, tmp_path)
    expected, found = load_state_dict(str(path)), read_checkpoint(path).state
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in found)


junk = st.recursive(
    st.one_of(
        st.none(),
        st.integers(),
        st.text(max_size=3),
        st.just(torch.ones(2)),
        st.just(torch.ones(2, 2).bool()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.one_of(st.integers(0, 3), st.sampled_from(["model", "ema", "x"])), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


@QUICK
@given(content=junk)
def test_whatever_else_it_holds_is_refused_in_one_line(tmp_path: Path, content: Any) -> None:
    with pytest.raises(UserError) as caught:
        load_model("digits_deit", checkpoint=saved(content, tmp_path))
    assert "\n" not in str(caught.value)
