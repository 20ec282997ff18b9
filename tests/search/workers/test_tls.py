"""A cluster with certificates: who has one of its authority takes part, and nobody else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.workers.connection import Connection
from bitfront.search.workers.messages import WorkerList
from bitfront.search.workers.pool import DaskPool
from bitfront.spaces import UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]
NAMES = ("scheduler", "worker", "client")


def authority(folder: Path) -> dict[str, str]:
    """An authority and one certificate for all sides, as docs/clusters.md has it; Dask's settings for it."""
    folder.mkdir()

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ours")
    openssl("req", *curve, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=bitfront")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl("x509", "-req", "-in", "request.pem", *signed, "-out", "cert.pem")
    settings = {"distributed.comm.tls.ca-file": str(folder / "ca.pem")}
    settings["distributed.comm.require-encryption"] = "True"
    for name in NAMES:
        settings[f"distributed.comm.tls.{name}.cert"] = str(folder / "cert.pem")
        settings[f"distributed.comm.tls.{name}.key"] = str(folder / "key.pem")
    return settings


def in_environment(settings: dict[str, str]) -> dict[str, str]:
    changed = {f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": v for name, v in settings.items()}
    return {**os.environ, **changed}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def address(ours: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address, folder = f"tls://127.0.0.1:{port}", tmp_path_factory.mktemp("cluster")
    log = (folder / "log.txt").open("ab")
    programs = [
        ("dask_scheduler", "--host", address.rpartition(":")[0], "--port", str(port), "--no-dashboard"),
        ("dask_worker", address, "--nthreads", "1", "--no-dashboard"),
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *options],
            env=in_environment(ours), stdout=log, stderr=log, cwd=folder, start_new_session=True,
        )
        for name, *options in programs
    ]  # fmt: skip
    yield address
    for process in reversed(processes):
        process.terminate()
        process.wait(20)
    log.close()


def test_a_certificate_of_the_authority_takes_part(address: str, ours: dict[str, str]) -> None:
    with dask.config.set(ours):
        connection = Connection(address, 60)
        listed, until = None, time.monotonic() + 60
        while not (isinstance(listed, WorkerList) and listed.running) and time.monotonic() < until:
            listed = connection.inbox.get(timeout=60)
        connection.close(10)
    assert isinstance(listed, WorkerList)
    assert [worker.startswith("tls://") for worker in listed.running] == [True]


def refusal(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("bitfront.search.workers.pool.START_TIMEOUT_S", 3.0)
    with pytest.raises(UserError) as caught:
        DaskPool(EvaluationSpec(model="digits_deit", scheme="fq-vit"), cluster=address)
    return str(caught.value)


def test_without_certificates(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(address, monkeypatch)
    assert "needs certificates" in message
    assert "\n" not in message


def test_with_a_certificate_of_another_authority(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with dask.config.set(authority(tmp_path / "theirs")):
        assert "cannot be reached" in refusal(address, monkeypatch)


def test_without_encryption(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be reached" in refusal(address.replace("tls://", "tcp://"), monkeypatch)
