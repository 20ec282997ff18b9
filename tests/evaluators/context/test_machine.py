"""Naming devices: what is refused, and with which words."""

from __future__ import annotations

import io
import os
import sys

import pytest
import torch

from bitfront.evaluators.context.machine import available_cpus, device_named
from bitfront.spaces import UserError


def gpus(monkeypatch: pytest.MonkeyPatch, built: bool, count: int) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_cpu() -> None:
    assert device_named("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    "text", ["gpu", "", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda0", "mps", "cpu:0", "meta"]
)
def test_unknown_devices_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    gpus(monkeypatch, True, 2)
    with pytest.raises(UserError, match="is unknown: give cpu, cuda or cuda:N") as caught:
        device_named(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "built", "count", "reason"),
    [
        (
            "cuda",
            False,
            0,
            r"--device cuda: this torch \(.+\) is built without CUDA: install a CUDA build, or give",
        ),
        ("cuda:1", False, 0, r"--device cuda:1: this torch"),
        ("cuda", True, 0, "--device cuda: torch finds no GPU: check the driver"),
        ("cuda:1", True, 1, "--device cuda:1: there is no such GPU: the one GPU is cuda:0"),
        ("cuda:4", True, 4, "--device cuda:4: there is no such GPU: there are cuda:0 to cuda:3"),
    ],
)
def test_gpus_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch, text: str, built: bool, count: int, reason: str
) -> None:
    gpus(monkeypatch, built, count)
    with pytest.raises(UserError, match=reason) as caught:
        device_named(text)
    assert "\n" not in str(caught.value)


def test_gpus_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, True, 2)
    assert device_named("cuda") == torch.device("cuda", 0)
    assert device_named("cuda:1") == torch.device("cuda", 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_the_first_gpu_computes() -> None:
    assert float(torch.ones(3, device=device_named("cuda")).sum()) == 3.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cgroups are Linux's")
@pytest.mark.parametrize(
    "files",
    [
        {"/proc/self/cgroup": "0::/box\n", "/sys/fs/cgroup/box/cpu.max": "{quota} 100000\n"},
        {
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "{quota}\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["version 2", "version 1"],
)
@pytest.mark.parametrize(
    ("quota", "expected"), [(150_000, 2), (50_000, 1), (900_000, 4), ("max", 4), (-1, 4)]
)
def test_the_quota_of_a_container_counts(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], quota: int | str, expected: int
) -> None:
    def opened(path: str, *_: object) -> io.StringIO:
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path].format(quota=quota))

    available_cpus()  # has what it imports loaded
    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(os, "process_cpu_count", lambda: 4, raising=False)
    monkeypatch.setattr("psutil.Process", lambda: None)
    found = available_cpus()
    monkeypatch.undo()
    assert found == expected


def test_cpus_are_those_of_the_process() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
