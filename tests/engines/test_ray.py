"""Work handed out to workers that may be lost, by a small stand-in for Ray: who gets what, what is done again."""

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
from evalkit.engines.ray import Member, RayEngine
from evalkit.engines.ray_queue import Work
from evalkit.engines.ray_workers import Crew, Needs
from evalkit.engines.scripted import ScriptedEngine


class RayError(Exception):
    """As ray.exceptions.RayError."""


class Dead(Exception):
    """The worker's process ends while it answers."""


class FakeRay:
    """Workers that answer when they are waited for, the longest waiting first; nodes of one CPU each."""

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

    def hire(self, member: Any) -> Any:
        worker = SimpleNamespace()

        def method(name: str) -> Any:
            def remote(*arguments: Any) -> Any:
                call = _Call(worker, lambda: getattr(member, name)(*arguments))
                return call

            return SimpleNamespace(remote=remote)

        worker.start, worker.answer = method("start"), method("answer")
        self.alive.append(worker)
        return worker


class _Call:
    def __init__(self, worker: Any, function: Callable[[], Any]) -> None:
        self.worker, self.function = worker, function


class Scripted(ScriptedEngine):
    """Ends its worker at questions that say so, `deaths` times each; keeps what it was asked."""

    def __init__(self, deaths: dict[str, int], asked: list[list[str]], **settings: Any) -> None:
        super().__init__(rule="digest", **settings)
        self.deaths, self.said = deaths, asked

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        self.said.append([r.sample_id for r in requests])
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
ASKED = [r for g in GROUPS for r in g]


def run(
    deaths: dict[str, int] | None = None,
    *,
    nodes: int = 2,
    grow: Callable[[int], int] = lambda waits: 0,
    chunk: int = 6,
    retries: int = 2,
    most: int | None = None,
    identity: str | None = None,
) -> SimpleNamespace:
    asked: list[list[str]] = []
    deaths = deaths or {}
    ray = FakeRay(nodes, grow)
    work = Work(GROUPS, chunk=chunk, retries=retries)
    own = Scripted(deaths, asked).identity
    crew = Crew(
        ray,
        lambda: ray.hire(Member(lambda: Scripted(deaths, asked), ".")),
        Needs(gpus=0, cpus=1),
        identity or own,
        most,
    )
    answers = [p for batch in crew.answered(work) for p in batch]
    return SimpleNamespace(answers=answers, asked=asked, crew=crew, work=work, ray=ray)


def assert_each_once(answers: list[Prediction]) -> None:
    assert sorted(p.sample_id for p in answers) == sorted(r.sample_id for r in ASKED)


def plain_answers() -> dict[str, str | None]:
    return {p.sample_id: p.text for batch in ScriptedEngine(rule="digest").generate(ASKED) for p in batch}


@pytest.mark.parametrize("nodes", [1, 2, 3, 20])
@pytest.mark.parametrize("chunk", [1, 6, 1000])
def test_any_number_of_workers_gives_the_same_answers_once(nodes: int, chunk: int) -> None:
    result = run(nodes=nodes, chunk=chunk)
    assert_each_once(result.answers)
    assert {p.sample_id: p.text for p in result.answers} == plain_answers()
    assert result.crew.started <= min(nodes, len(GROUPS))
    assert not result.ray.alive, "no worker outlives the run"


def test_an_image_is_never_divided() -> None:
    for call in run(chunk=4).asked:
        images = [sample[0] for sample in call]
        assert all(images.count(i) == 3 for i in images)


def test_a_lost_workers_groups_are_done_again_elsewhere() -> None:
    result = run({"a1": 1})
    assert_each_once(result.answers)
    assert {p.sample_id: p.text for p in result.answers} == plain_answers()
    assert result.crew.lost == 1 and result.work.redone >= 1


def test_a_group_that_kills_every_worker_is_named_and_takes_no_other_with_it() -> None:
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


def test_workers_that_all_die_stop_the_run_and_say_why() -> None:
    everything = {r.sample_id: 10_000 for r in ASKED}
    with pytest.raises(EngineError, match=r"lost in a row.*signal 9.*Nothing was answered"):
        run(everything, retries=1000)
    with pytest.raises(Partial, match="goes on from there"):
        run({k: v for k, v in everything.items() if k[0] != "a"}, retries=1000, chunk=1)


def test_a_node_that_comes_late_gets_work() -> None:
    result = run(nodes=1, chunk=1, grow=lambda waits: 1 if waits == 4 else 0)
    assert_each_once(result.answers)
    assert result.crew.started == 2 and len(result.crew.facts) == 2


def test_no_more_workers_than_asked_for() -> None:
    assert run(nodes=20, most=3).crew.started == 3


def test_a_worker_that_would_answer_otherwise_is_refused() -> None:
    with pytest.raises(ConfigError, match="dtype"):
        run(identity="another")


def test_what_a_workers_engine_refuses_is_said_as_its_own() -> None:
    def broken() -> Any:
        raise ModelError("There are no weights here.")

    ray = FakeRay(1)
    crew = Crew(ray, lambda: ray.hire(Member(broken, ".")), Needs(gpus=0, cpus=1), "i", None)
    with pytest.raises(ModelError, match=r"no weights here.*worker of engine=ray"):
        list(crew.answered(Work(GROUPS, chunk=1, retries=1)))
    assert not ray.alive


@given(st.dictionaries(st.sampled_from([r.sample_id for r in ASKED]), st.integers(1, 4)), st.integers(1, 5))
def test_whatever_is_lost_every_request_has_one_outcome(deaths: dict[str, int], nodes: int) -> None:
    try:
        result = run(dict(deaths), nodes=nodes, retries=3)
    except (EngineError, Partial):
        assert sum(deaths.values()) > 6, "so few losses do not stop a run"
        return
    assert_each_once(result.answers)


def test_room_is_what_living_nodes_have() -> None:
    def node(alive: bool = True, **resources: float) -> dict[str, Any]:
        return {"Alive": alive, "Resources": resources}

    cluster = [node(CPU=16, GPU=4), node(CPU=2, GPU=8), node(False, CPU=64, GPU=8), node(CPU=8), node()]
    assert str(Needs.of(cluster, gpus=None, cpus=None)) == "1 CPU and 1 GPU"
    assert Needs.of(cluster, gpus=None, cpus=None).room(cluster) == 4 + 2
    assert Needs.of(cluster, gpus=0, cpus=None) == Needs(gpus=0, cpus=2)
    assert Needs(gpus=0, cpus=2).room(cluster) == 8 + 1 + 4
    assert Needs(gpus=2, cpus=1).room(cluster) == 2 + 2
    assert Needs.of([], gpus=None, cpus=None).room([]) == 0


def test_a_missing_package_is_one_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"evalkit-medvqa\[ray\]"):
        RayEngine(inner=lambda: ScriptedEngine())


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"gpus": -1}, {"cpus": 0}, {"chunk": 0}, {"retries": -1}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"engine.{next(iter(wrong))}="):
        RayEngine(inner=lambda: ScriptedEngine(), **wrong)


def test_nobody_at_the_address_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    engine = RayEngine(inner=lambda: ScriptedEngine(), address="127.0.0.1:9")
    with pytest.raises(EngineError, match="no Ray cluster can be reached"):
        list(engine.generate(ASKED))
