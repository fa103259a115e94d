"""engine=ray on a real two-node cluster on this machine: workers and nodes are lost and join, answers do not change."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.types import Prediction, Request
from evalkit.engines.hf import HfEngine
from evalkit.engines.ray import RayEngine
from tests.support import ray_inner
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import Answer, answers
from tests.support.paths import ROOT

ray = pytest.importorskip("ray", reason="the package ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
IMAGES = [5] * 24


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def requests(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Request]:
    return tiny.requests(tmp_path_factory.mktemp("images"), IMAGES, tiny.spec(folder).generation)


@pytest.fixture(scope="module")
def alone(folder: Path, requests: list[Request]) -> dict[str, Answer]:
    return answers(HfEngine(spec=tiny.spec(folder), device="cpu", dtype="float32", workers=0), requests)


def calls(log: Path) -> list[tuple[str, int]]:
    """Return (node, pid) of every call so far."""
    if not log.exists():
        return []
    return [(node, int(pid)) for node, pid in (line.split() for line in log.read_text().splitlines())]


def when(condition: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Call `then` once in a thread, as soon as a condition holds."""

    def wait() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if condition():
                then()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_worker_killed_during_a_run_loses_and_changes_no_answer(
    cluster: Any, folder: Path, requests: list[Request], alone: dict[str, Answer], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=1)
    log = tmp_path / "log"
    inner = partial(ray_inner.make, tiny.spec(folder), log, 0.5)
    engine = RayEngine(inner=inner, address=cluster.address, cpus=1, chunk=10)
    assert engine.identity == HfEngine(spec=tiny.spec(folder), device="cpu", dtype="float32").identity
    killed: list[int] = []

    def kill() -> None:
        time.sleep(0.2)  # during the call, which sleeps longer before it answers
        killed.append(calls(log)[-1][1])
        os.kill(killed[0], signal.SIGKILL)

    thread = when(lambda: len({node for node, _ in calls(log)}) == 2 and len(calls(log)) >= 5, kill)
    assert answers(engine, requests) == alone
    thread.join()
    record = engine.metadata()
    assert record["ray"]["workers_lost"] == len(killed) == 1
    assert record["ray"]["groups_redone"] >= 1 and record["ray"]["groups_given_up"] == 0
    assert record["ray"]["workers"] == 3, "another was started in its place"
    assert len({node for node, _ in calls(log)}) == 2


def test_a_run_survives_a_lost_node_and_uses_a_node_that_joins_late(
    cluster: Any, folder: Path, requests: list[Request], alone: dict[str, Answer], tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=1)
    log = tmp_path / "log"
    engine = RayEngine(
        inner=partial(ray_inner.make, tiny.spec(folder), log, 1.5), address=cluster.address, cpus=1, chunk=5
    )
    before: set[str] = set()
    given: list[Prediction] = []
    for batch in engine.generate(requests):
        given += batch
        nodes = {node for node, _ in calls(log)}
        if not before and len(nodes) == 2:  # here, because Ray starts nodes in the main thread only
            before = nodes
            cluster.remove_node(second, allow_graceful=False)
            cluster.add_node(num_cpus=1)
    assert sorted(p.fingerprint for p in given) == sorted(r.fingerprint for r in requests)
    assert {p.sample_id: (p.text, p.finish_reason, p.n_tokens) for p in given} == alone
    late = {node for node, _ in calls(log)} - before
    assert len(late) == 1, "the node that joined late was given work"
    assert engine.metadata()["ray"]["workers_lost"] >= 1
