"""Distribution of requests to workers that may be lost, with a small fake of Ray: assignment, requeueing, errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import ConfigError, EngineError, ModelError, Partial
from evalkit.core.types import Generation, Prediction, Request
from evalkit.engines.ray import RayEngine, Worker
from evalkit.engines.ray_queue import WorkQueue
from evalkit.engines.ray_workers import WorkerPool, WorkerResources
from evalkit.engines.scripted import ScriptedEngine


class RayError(Exception):
    """Stand-in for ray.exceptions.RayError."""


class Dead(Exception):
    """Raised when a worker's process ends while it answers."""


class FakeRay:
    """Fake Ray whose workers answer when they are waited for, the longest waiting first; nodes have one CPU each."""

    exceptions = SimpleNamespace(RayError=RayError)
    __version__ = "fake"

    def __init__(self, nodes: int, grow: Callable[[int], int] = lambda waits: 0) -> None:
        self.n, self.grow, self.waits = nodes, grow, 0
        self.alive: list[Any] = []
        self.killed: list[Any] = []

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 1.0}}] * self.n + [{"Alive": False, "Resources": {"CPU": 64.0}}]

    def wait(self, calls: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        self.waits += 1
        self.n += self.grow(self.waits)
        placed = [c for c in calls if c.worker in self.alive[: self.n]]
        return placed[:1], [c for c in calls if c not in placed[:1]]

    def get(self, call: Any) -> Any:
        try:
            return call.function()
        except Dead as problem:
            self.kill(call.worker)
            raise RayError("The worker died.\nThe process was killed by signal 9.") from problem

    def kill(self, worker: Any) -> None:
        self.killed.append(worker)
        if worker in self.alive:
            self.alive.remove(worker)

    def start_worker(self, worker: Any) -> Any:
        handle = SimpleNamespace()

        def method(name: str) -> Any:
            def remote(*arguments: Any) -> Any:
                return _Call(handle, lambda: getattr(worker, name)(*arguments))

            return SimpleNamespace(remote=remote)

        handle.start, handle.answer = method("start"), method("answer")
        self.alive.append(handle)
        return handle


class _Call:
    def __init__(self, worker: Any, function: Callable[[], Any]) -> None:
        self.worker, self.function = worker, function


class Scripted(ScriptedEngine):
    """Ends its worker at the samples in `deaths`, as often as given there; records the sample ids of each call."""

    def __init__(self, deaths: dict[str, int], calls: list[list[str]], **settings: Any) -> None:
        super().__init__(rule="digest", **settings)
        self.deaths, self.calls = deaths, calls

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        self.calls.append([r.sample_id for r in requests])
        for request in requests:
            if self.deaths.get(request.sample_id, 0) > 0:
                self.deaths[request.sample_id] -= 1
                raise Dead
        yield from super().generate(requests)


def request(number: int, image: str) -> Request:
    return Request(
        sample_id=f"{image}{number}", image_id=image, question=f"{number}?", answer_type=None, messages=(), images=(),
        image_digests=(image,), generation=Generation(), checkpoint="c",
    )  # fmt: skip


GROUPS = [[request(k, image) for k in range(3)] for image in "abcdefgh"]
REQUESTS = [r for g in GROUPS for r in g]


def run(
    deaths: dict[str, int] | None = None,
    *,
    nodes: int = 2,
    grow: Callable[[int], int] = lambda waits: 0,
    chunk: int = 6,
    retries: int = 2,
    limit: int | None = None,
    identity: str | None = None,
) -> SimpleNamespace:
    calls: list[list[str]] = []
    deaths = deaths or {}
    ray = FakeRay(nodes, grow)
    queue = WorkQueue(GROUPS, chunk=chunk, retries=retries)
    own = Scripted(deaths, calls).identity
    pool = WorkerPool(
        ray,
        lambda: ray.start_worker(Worker(lambda: Scripted(deaths, calls), ".")),
        WorkerResources(gpus=0, cpus=1),
        identity or own,
        limit,
    )
    answers = [p for batch in pool.run(queue) for p in batch]
    return SimpleNamespace(answers=answers, calls=calls, pool=pool, queue=queue, ray=ray)


def assert_each_once(answers: list[Prediction]) -> None:
    assert sorted(p.sample_id for p in answers) == sorted(r.sample_id for r in REQUESTS)


def plain_answers() -> dict[str, str | None]:
    return {p.sample_id: p.text for batch in ScriptedEngine(rule="digest").generate(REQUESTS) for p in batch}


@pytest.mark.parametrize("nodes", [1, 2, 3, 20])
@pytest.mark.parametrize("chunk", [1, 6, 1000])
def test_any_number_of_workers_gives_the_same_answers_once(nodes: int, chunk: int) -> None:
    result = run(nodes=nodes, chunk=chunk)
    assert_each_once(result.answers)
    assert {p.sample_id: p.text for p in result.answers} == plain_answers()
    assert result.pool.started <= min(nodes, len(GROUPS))
    assert not result.ray.alive, "no worker outlives the run"


def test_an_image_is_never_divided() -> None:
    for call in run(chunk=4).calls:
        images = [sample[0] for sample in call]
        assert all(images.count(i) == 3 for i in images)


def test_the_groups_of_a_lost_worker_are_answered_by_another() -> None:
    result = run({"a1": 1})
    assert_each_once(result.answers)
    assert {p.sample_id: p.text for p in result.answers} == plain_answers()
    assert result.pool.lost == 1 and result.queue.redone >= 1


def test_a_group_that_kills_every_worker_fails_alone() -> None:
    result = run({"d0": 99}, chunk=9)
    assert_each_once(result.answers)
    failures = {p.sample_id: p.error for p in result.answers if p.error is not None}
    assert set(failures) == {"d0", "d1", "d2"}
    assert all(e and "3 workers in turn" in e and "killed by signal 9" in e for e in failures.values())
    assert {k: t for k, t in plain_answers().items() if k not in failures} == {
        p.sample_id: p.text for p in result.answers if p.text is not None
    }


def test_no_retries_means_one_attempt() -> None:
    result = run({"d0": 1}, chunk=1, retries=0)
    assert {p.sample_id for p in result.answers if p.error} == {"d0", "d1", "d2"}


def test_a_run_whose_workers_all_die_stops_with_the_reason() -> None:
    everything = {r.sample_id: 10_000 for r in REQUESTS}
    with pytest.raises(EngineError, match=r"lost in a row.*signal 9.*Nothing was answered"):
        run(everything, retries=1000)
    with pytest.raises(Partial, match="same command again to continue"):
        run({k: v for k, v in everything.items() if k[0] != "a"}, retries=1000, chunk=1)


def test_a_node_that_joins_late_gets_work() -> None:
    result = run(nodes=1, chunk=1, grow=lambda waits: 1 if waits == 4 else 0)
    assert_each_once(result.answers)
    assert result.pool.started == 2 and len(result.pool.metadata) == 2


def test_the_number_of_workers_is_limited() -> None:
    assert run(nodes=20, limit=3).pool.started == 3


def test_a_worker_with_another_identity_is_refused() -> None:
    with pytest.raises(ConfigError, match="dtype"):
        run(identity="another")


def test_an_error_of_a_workers_engine_keeps_its_class_and_message() -> None:
    def broken() -> Any:
        raise ModelError("There are no weights here.")

    ray = FakeRay(1)
    pool = WorkerPool(ray, lambda: ray.start_worker(Worker(broken, ".")), WorkerResources(gpus=0, cpus=1), "i", None)
    with pytest.raises(ModelError, match=r"no weights here.*worker of engine=ray"):
        list(pool.run(WorkQueue(GROUPS, chunk=1, retries=1)))
    assert not ray.alive


@given(st.dictionaries(st.sampled_from([r.sample_id for r in REQUESTS]), st.integers(1, 4)), st.integers(1, 5))
def test_every_request_has_one_outcome_whatever_workers_are_lost(deaths: dict[str, int], nodes: int) -> None:
    try:
        result = run(dict(deaths), nodes=nodes, retries=3)
    except (EngineError, Partial):
        assert sum(deaths.values()) > 6, "so few losses do not stop a run"
        return
    assert_each_once(result.answers)


def test_capacity_counts_live_nodes_only() -> None:
    def node(alive: bool = True, **resources: float) -> dict[str, Any]:
        return {"Alive": alive, "Resources": resources}

    cluster = [node(CPU=16, GPU=4), node(CPU=2, GPU=8), node(False, CPU=64, GPU=8), node(CPU=8), node()]
    assert str(WorkerResources.resolve(cluster, gpus=None, cpus=None)) == "1 CPU and 1 GPU"
    assert WorkerResources.resolve(cluster, gpus=None, cpus=None).capacity(cluster) == 4 + 2
    assert WorkerResources.resolve(cluster, gpus=0, cpus=None) == WorkerResources(gpus=0, cpus=2)
    assert WorkerResources(gpus=0, cpus=2).capacity(cluster) == 8 + 1 + 4
    assert WorkerResources(gpus=2, cpus=1).capacity(cluster) == 2 + 2
    assert WorkerResources.resolve([], gpus=None, cpus=None).capacity([]) == 0


def test_a_missing_package_is_one_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"evalkit-medvqa\[ray\]"):
        RayEngine(inner=lambda: ScriptedEngine())


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"gpus": -1}, {"cpus": 0}, {"chunk": 0}, {"retries": -1}])
def test_invalid_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"engine.{next(iter(wrong))}="):
        RayEngine(inner=lambda: ScriptedEngine(), **wrong)


def test_an_unreachable_cluster_address_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    engine = RayEngine(inner=lambda: ScriptedEngine(), address="127.0.0.1:9")
    with pytest.raises(EngineError, match="no Ray cluster can be reached"):
        list(engine.generate(REQUESTS))
