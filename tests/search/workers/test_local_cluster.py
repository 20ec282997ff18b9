"""Ports of the workers of this machine: who reaches them, and who may use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.security import Security

from bitfront.search.workers import local_cluster
from bitfront.search.workers.connection import Connection
from bitfront.search.workers.local_cluster import LEAST_MEMORY, dask_settings, start_cluster


@pytest.fixture
def cluster() -> Iterator[Any]:
    with dask_settings(1):
        started = start_cluster(1, 10 * LEAST_MEMORY)
        try:
            yield started
        finally:
            started.close()


def test_no_port_is_open_to_other_machines(cluster: Any) -> None:
    own = psutil.Process()
    open_ports = [
        (found.laddr.ip, found.laddr.port)
        for process in (own, *own.children(recursive=True))
        for found in process.net_connections()
        if found.status == psutil.CONN_LISTEN
    ]
    assert cluster.scheduler_address.rpartition(":")[2] in {str(port) for _, port in open_ports}
    assert {address for address, _ in open_ports} == {"127.0.0.1"}


def test_others_on_this_machine_have_no_key(cluster: Any) -> None:
    pytest.importorskip("cryptography")
    address = cluster.scheduler_address
    assert address.startswith("tls://127.0.0.1:")
    connection = Connection(cluster, 20)
    connection.close(10)
    others = {address: Security.temporary(), address.replace("tls://", "tcp://"): None}
    for other, security in others.items():
        with pytest.raises(OSError, match=r"."):
            Client(other, timeout=2, security=security, set_as_default=False)


def test_without_cryptography_workers_start_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_cluster, "find_spec", lambda name: None)
    assert local_cluster.own_credentials() is None
