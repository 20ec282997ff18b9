"""A Dask cluster of separate processes on loopback: scheduler, workers, and what becomes of them."""

import contextlib
import dataclasses
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.runs.folder import RunStore
from bitfront.search.workers import pool as dask_pool
from bitfront.search.workers.local_cluster import WorkerSettings
from bitfront.search.workers.pool import DaskPool
from bitfront.spaces import BitfrontError, UserError

pytestmark = pytest.mark.slow
SPEC = RunSpec(evaluations=40, population=16)
SMALL = EvaluationSpec(
    model="digits_deit",
    scheme="fq-vit",
    calibration_images=16,
    search_images=24,
    test_images=8,
    batch_size=8,
    threads=1,
    first_images=24,
)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Cluster:
    """``dask scheduler`` and ``dask worker`` as processes."""

    def __init__(self, folder, workers=2):
        self.folder, self.port, self.processes = folder, free_port(), []
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler = self.start_scheduler()
        self.workers = [self.start_worker() for _ in range(workers)]

    def start_scheduler(self):
        options = ("--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        return self._start("dask_scheduler", *options)

    def start_worker(self):
        return self._start("dask_worker", self.address, "--nthreads", "1", "--no-dashboard")

    def _start(self, program, *options):
        command = [sys.executable, "-m", f"distributed.cli.{program}", *options]
        with (self.folder / f"{program}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        self.processes.append(process)
        return process

    def close(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.close()


@pytest.fixture
def one_worker(tmp_path):
    """Another cluster, whose workers need not all prepare the model."""
    started = Cluster(tmp_path, workers=1)
    yield started
    started.close()


@pytest.fixture(scope="module")
def inline(synthetic, tmp_path_factory):
    """The tables of a search in one process."""
    folder = RunStore(tmp_path_factory.mktemp("inline")).create("inline")
    synthetic.search(folder, SPEC)
    return tables(folder)


def tables(folder):
    return [(folder.path / name).read_text() for name in ("front.csv", "trials.csv")]


@contextlib.contextmanager
def pool_on(cluster, *args, **kwargs):
    pool = DaskPool(*args, cluster=cluster.address, **kwargs)
    try:
        yield pool
    finally:
        pool.close()


class Strike:
    """Does something to the cluster after so many evaluations."""

    def __init__(self, after, strike):
        self.after, self.strike = after, strike

    def __call__(self, progress, trial):
        if trial is not None and progress.evaluations == self.after:
            self.strike()


def score_slowly(synthetic):
    import cloudpickle

    cloudpickle.register_pickle_by_value(synthetic)
    return lambda spec, config, required: synthetic.paused_score(0.02, spec, config, required)


def test_a_cluster_finds_the_front_of_one_process(cluster, synthetic, folder, inline):
    with pool_on(
        cluster, EvaluationSpec(model="digits_deit", scheme="fq-vit"), evaluate=score_slowly(synthetic)
    ) as pool:
        assert pool.workers >= 1
        synthetic.search(folder, SPEC, pool)
    assert tables(folder) == inline
    assert cluster.scheduler.poll() is None, "somebody else's scheduler is left as it is"


@pytest.mark.thorough
def test_a_scheduler_that_is_stopped_for_a_while_loses_nothing(
    cluster, synthetic, folder, inline, monkeypatch, caplog
):
    monkeypatch.setattr(dask_pool, "SILENCE_S", 1.0)

    def stop():
        cluster.scheduler.send_signal(signal.SIGSTOP)
        threading.Timer(4.0, cluster.scheduler.send_signal, [signal.SIGCONT]).start()

    settings = WorkerSettings(evaluation_timeout_s=2.0)
    with pool_on(
        cluster,
        EvaluationSpec(model="digits_deit", scheme="fq-vit"),
        evaluate=score_slowly(synthetic),
        settings=settings,
    ) as pool:
        synthetic.search(folder, SPEC, pool, observers=(Strike(7, stop),))
    assert tables(folder) == inline
    told = [message for message in caplog.messages if message.startswith("the Dask scheduler")]
    assert told == [
        "the Dask scheduler does not answer; waiting up to 10 min",
        "the Dask scheduler answers again",
    ]


@pytest.mark.thorough
def test_a_scheduler_that_is_started_anew_loses_nothing(synthetic, folder, tmp_path, inline):
    cluster = Cluster(tmp_path, workers=1)

    def replace():
        cluster.scheduler.kill()
        cluster.scheduler.wait()
        cluster.start_scheduler()
        cluster.start_worker()  # workers end with their scheduler

    try:
        with pool_on(
            cluster, EvaluationSpec(model="digits_deit", scheme="fq-vit"), evaluate=score_slowly(synthetic)
        ) as pool:
            synthetic.search(folder, SPEC, pool, observers=(Strike(7, replace),))
    finally:
        cluster.close()
    assert tables(folder) == inline


@pytest.mark.thorough
def test_a_scheduler_that_stays_away_ends_the_search_in_good_order(synthetic, folder, tmp_path, inline):
    cluster = Cluster(tmp_path, workers=1)
    settings = WorkerSettings(patience_s=2.0)
    try:
        with (
            pool_on(
                cluster,
                EvaluationSpec(model="digits_deit", scheme="fq-vit"),
                evaluate=score_slowly(synthetic),
                settings=settings,
            ) as pool,
            pytest.raises(BitfrontError, match="the Dask scheduler does not answer, for"),
        ):
            synthetic.search(folder, SPEC, pool, observers=(Strike(7, cluster.scheduler.kill),))
    finally:
        cluster.close()
    synthetic.search(folder, SPEC, resume=True)
    assert tables(folder) == inline


def test_workers_that_differ_or_lack_files_are_refused_in_one_line(cluster, tmp_path, monkeypatch):
    theirs = dask_pool.describe_environment(())
    other = dataclasses.replace(theirs, versions={**theirs.versions, "torch": "1.0"})
    missing = tmp_path / "labels.csv"
    for environment, spec, told in [
        (
            other,
            EvaluationSpec(model="digits_deit", scheme="fq-vit"),
            "has torch .*, this machine 1.0: results would not be comparable",
        ),
        (
            dataclasses.replace(theirs, sources="0"),
            EvaluationSpec(model="digits_deit", scheme="fq-vit"),
            "has other sources of bitfront",
        ),
        (
            theirs,
            EvaluationSpec(model="digits_deit", scheme="fq-vit", data=str(missing)),
            f"has no {missing}: .* or pass --send-data",
        ),
    ]:
        monkeypatch.setattr(dask_pool, "describe_environment", lambda paths, found=environment: found)
        with pytest.raises(UserError, match=told) as error, pool_on(cluster, spec):
            pass
        assert "\n" not in str(error.value)


def answer_of(pool, config):
    pool.submit(0, config)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (done := pool.next_completed(1.0)) is not None:
            return done[1]
    raise AssertionError("no answer")


def test_what_is_sent_evaluates_to_the_very_same(one_worker, tmp_path):
    from safetensors.torch import save_file

    from bitfront.evaluators.context.bundle import bundle_of, fingerprint_of
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.models.digits_models import load_embedded

    checkpoint = tmp_path / "here_alone.safetensors"
    save_file(load_embedded("digits_deit").state_dict(), checkpoint)
    metrics = ("macro_f1", "ece_tempered")  # the last one is fitted on calibration images
    spec = dataclasses.replace(SMALL, checkpoint=str(checkpoint), seed=5, metrics=metrics)
    context = EvaluationContext.from_spec(spec)
    bundle, reference = bundle_of(context), fingerprint_of(context)
    checkpoint.unlink()
    from bitfront.spaces import SearchSpace

    space = SearchSpace(spec.model, spec.scheme, context.encoders, spec.widths, "encoder-kind")
    (genome,) = space.sample(np.random.default_rng(0), 1)
    config = space.decode(np.array(genome))
    with pool_on(one_worker, spec, bundle=bundle, reference=reference) as pool:
        found = answer_of(pool, config)
    assert not isinstance(found, EvaluationFailure)
    assert dataclasses.replace(found, seconds=0.0) == dataclasses.replace(
        context.quality(config), seconds=0.0
    )
    with (
        pool_on(one_worker, SMALL, reference=dataclasses.replace(reference, images="0")) as pool,
        pytest.raises(BitfrontError, match="has other images of the search split: bring them in line"),
    ):
        answer_of(pool, config)
    with (
        pool_on(one_worker, dataclasses.replace(SMALL, model="no_such_model")) as pool,
        pytest.raises(BitfrontError, match="cannot prepare the model: unknown model 'no_such_model'"),
    ):
        answer_of(pool, config)


def test_no_scheduler_and_no_workers_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_pool, "START_TIMEOUT_S", 1.0)
    with pytest.raises(UserError, match=r"--cluster tcp://127.0.0.1:9 cannot be reached .* running Dask"):
        DaskPool(EvaluationSpec(model="digits_deit", scheme="fq-vit"), cluster="tcp://127.0.0.1:9")
    cluster = Cluster(tmp_path, workers=0)
    try:
        monkeypatch.setattr(dask_pool, "START_TIMEOUT_S", 6.0)
        with pytest.raises(UserError, match="has no workers: start some with `dask worker tcp"):
            DaskPool(EvaluationSpec(model="digits_deit", scheme="fq-vit"), cluster=cluster.address)
    finally:
        cluster.close()
