"""The pool keeps the contract; what it changes it changes back, wherever it starts and however it ends."""

import json
import logging
import signal
import threading
import time

import dask.config
import pytest
from search_contracts import PoolContract

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.workers import pool as pool_module
from bitfront.search.workers.local_cluster import dask_settings
from bitfront.search.workers.pool import DaskPool
from bitfront.spaces import BitConfig, BitfrontError

PRELOAD, PATIENCE = "distributed.worker.preload", "distributed.deploy.lost-worker-timeout"


def settings():
    import distributed  # noqa: F401 - brings its settings along

    return dask.config.get(PRELOAD), dask.config.get(PATIENCE), logging.getLogger("distributed").level


def interrupts_are_ignored(spec, config, required):
    import signal

    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.fixture
def config(synthetic):
    return synthetic.uniform(synthetic.space(), 8)


def test_a_pool_starts_outside_the_main_thread_and_leaves_dask_as_it_was(config):
    before, found = settings(), {}
    handler = signal.getsignal(signal.SIGINT)

    def evaluate():
        pool = DaskPool(
            EvaluationSpec(model="digits_deit", scheme="fq-vit"), 1, evaluate=interrupts_are_ignored
        )
        found["settings"] = settings()
        pool.submit(0, config)
        deadline = time.monotonic() + 60
        while "answer" not in found and time.monotonic() < deadline:
            if (done := pool.next_completed(1.0)) is not None:
                found["answer"] = done
        pool.close()

    thread = threading.Thread(target=evaluate)
    thread.start()
    thread.join(120)
    assert found["answer"] == (0, True)
    preload, patience, level = found["settings"]
    assert "SIG_IGN" in preload[0]
    assert patience > 1e8, "a nanny that replaces a worker reads it again"
    assert level > logging.CRITICAL
    assert settings() == before
    assert signal.getsignal(signal.SIGINT) == handler


class Closing:
    """A cluster, or a connection, that notes that it was closed."""

    def __init__(self):
        self.closed = False

    def close(self, timeout_s=0.0, timeout=0.0):
        self.closed = True


def test_a_pool_whose_start_fails_closes_what_it_opened(monkeypatch):
    before, cluster, connection = settings(), Closing(), Closing()

    def no_workers(self, workers):
        raise BitfrontError("the 2 evaluation workers did not start")

    monkeypatch.setattr(pool_module, "start_cluster", lambda workers, memory: cluster)
    monkeypatch.setattr(pool_module, "Connection", lambda target, timeout_s: connection)
    monkeypatch.setattr(DaskPool, "_await_workers", no_workers)
    with pytest.raises(BitfrontError, match="did not start"):
        DaskPool(EvaluationSpec(model="digits_deit", scheme="fq-vit"), 2)
    assert cluster.closed
    assert connection.closed
    assert settings() == before


def test_settings_hold_until_the_last_of_several_pools_has_ended():
    before = settings()
    first, second = dask_settings(1), dask_settings(2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert dask.config.get("distributed.nanny.pre-spawn-environ")["OMP_NUM_THREADS"] == 2
    assert "SIG_IGN" in dask.config.get(PRELOAD)[0]
    second.__exit__(None, None, None)
    assert settings() == before


def test_a_pool_on_somebody_elses_cluster_leaves_their_nannies_settings_alone():
    before = settings()
    with dask_settings(None):
        assert settings()[:2] == before[:2]


@pytest.fixture(scope="module")
def started():
    """One pool for both tests: its start takes seconds."""
    found = []
    yield found
    for pool in found:
        pool.close()


class TestDaskPool(PoolContract):
    @pytest.fixture
    def pool(self, score, started):
        def evaluate(spec_json, config_json, required):
            return score(BitConfig.from_json(json.loads(config_json)), required)

        if not started:
            started.append(
                DaskPool(EvaluationSpec(model="digits_deit", scheme="fq-vit"), 1, evaluate=evaluate)
            )
        return started[0]
