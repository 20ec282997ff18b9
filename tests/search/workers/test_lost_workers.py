"""Workers of this machine that are killed, hang or take too much memory, and the candidates they were at."""

import json
import logging
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.problem.trial import EvaluationFailure
from bitfront.search.workers.local_cluster import WorkerSettings
from bitfront.search.workers.pool import DaskPool
from bitfront.spaces import BitConfig, BitfrontError

pytestmark = pytest.mark.slow
LIMIT = 700_000_000
MORE = "give workers more with --worker-memory, or use fewer --workers or a smaller --batch-size"


def behaving(marks, configs, kinds):
    """An evaluation that misbehaves for some configurations: at their first try, or at every one."""
    order = {config.digest: number for number, config in enumerate(configs)}

    def evaluate(spec_json, config_json, required):
        digest = BitConfig.from_json(json.loads(config_json)).digest
        kind, always = kinds.get(order[digest], ("", False))
        mark = Path(marks) / digest
        again = mark.exists()
        mark.touch()
        if always or not again:
            if kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif kind == "hung":
                time.sleep(3600)
            elif kind == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif kind == "large":
                kept = [bytearray(b"1" * (LIMIT + 100_000_000))]
                time.sleep(3600 * len(kept))
            elif kind == "short":
                raise MemoryError("no more")
            elif kind == "wrong":
                raise BitfrontError("blocks.0.norm1: NaN")
            elif kind == "broken":
                raise RuntimeError("no\nluck")
        time.sleep(0.05)
        return order[digest]

    return evaluate


def answers(pool, configs):
    """The outcome for every configuration, in their order."""
    found, sent, deadline = {}, 0, time.monotonic() + 120
    while len(found) < len(configs) and time.monotonic() < deadline:
        while sent < len(configs) and sent - len(found) < pool.capacity:
            pool.submit(sent, configs[sent])
            sent += 1
        done = pool.next_completed(0.5)
        found |= dict([done]) if done else {}
    return [found.get(number) for number in range(len(configs))]


@pytest.fixture(scope="module")
def configs(synthetic):
    space = synthetic.space()
    return [space.decode(np.array(genome)) for genome in space.sample(np.random.default_rng(0), 16)]


def evaluated(tmp_path, configs, kinds, workers=2, **settings):
    settings = WorkerSettings(**settings)
    pool = DaskPool(
        EvaluationSpec(model="digits_deit", scheme="fq-vit"),
        workers,
        evaluate=behaving(tmp_path, configs, kinds),
        settings=settings,
    )
    try:
        return answers(pool, configs)
    finally:
        pool.close()


def test_killed_workers_and_errors_cost_nobody_else(tmp_path, configs, caplog):
    kinds = {2: ("killed", False), 6: ("killed", True), 8: ("wrong", True), 9: ("broken", True),
             11: ("short", False), 12: ("short", True)}  # fmt: skip
    found = evaluated(tmp_path, configs, kinds)
    failures = {
        6: "its worker died, twice; the machine may be short of memory: use fewer --workers",
        8: "blocks.0.norm1: NaN",
        9: "RuntimeError: no luck",
        12: f"memory ran out (MemoryError: no more), twice; {MORE}",
    }
    expected = [EvaluationFailure(failures[n]) if n in failures else n for n in range(len(configs))]
    assert found == expected
    ours = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    given_up = {message.split(" on worker")[0] for message in ours if "given up" in message}
    assert given_up == {"trial 6", "trial 12"}
    assert all(message.startswith("trial ") for message in ours), "Dask's own messages are kept from the user"


@pytest.mark.thorough
def test_hung_and_stopped_workers_are_restarted(tmp_path, configs):
    kinds = {1: ("hung", False), 3: ("hung", True), 5: ("stopped", False)}
    found = evaluated(tmp_path, configs, kinds, evaluation_timeout_s=1.5)
    late = EvaluationFailure(
        "evaluating it took more than 1.5 s, twice; allow more with --evaluation-timeout"
    )
    assert found == [late if n == 3 else n for n in range(len(configs))]


def test_workers_that_take_too_much_memory_are_replaced(tmp_path, configs):
    found = evaluated(tmp_path, configs[:6], {1: ("large", False), 4: ("large", True)}, memory_bytes=LIMIT)
    large = EvaluationFailure(f"its worker took more than 700 MB of memory, twice; {MORE}")
    assert found == [large if n == 4 else n for n in range(6)]
