"""The path with a scripted model: resume, failures, image modes, what is written."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import build, load_option
from evalkit.core.errors import ConfigError, DataError, Partial
from evalkit.core.types import ImageRef, Message, Sample
from evalkit.engines.scripted import ScriptedEngine
from evalkit.pipeline.evaluate import Settings, evaluate, limited, with_images
from evalkit.pipeline.summary import show
from evalkit.tasks.base import LoadedTask


def sample(number: int) -> Sample:
    closed = number % 2 == 0
    return Sample(
        id=str(number),
        image_id=f"image{number // 4}",
        question=f"is there a mass {number}?" if closed else f"what organ is it {number}?",
        references=("yes",) if closed else ("lung",),
        images=(ImageRef(kind="file", path=f"image{number // 4}.png"),),
        tags={"answer_type": "CLOSED" if closed else "OPEN", "modality": "CT" if number % 3 else "MR"},
    )


LOADED = LoadedTask(
    name="toy",
    split="test",
    form="made",
    samples=tuple(sample(i) for i in range(20)),
    closed_rule="label",
    prompt="plain@0",
)


class Toy:
    """A task whose messages are the bare question."""

    def messages(self, item: Sample) -> tuple[Message, ...]:
        return (Message(role="user", content=(item.question,)),)

    def load_train(self) -> LoadedTask:
        raise DataError("the toy has no train split")


def protocols(*names: str) -> list[Any]:
    return [build(load_option("protocol", n), n) for n in names or ("llava-med", "strict")]


def run(out: Path, engine: ScriptedEngine | None = None, **settings: Any) -> Any:
    return evaluate(
        Toy(),  # type: ignore[arg-type]
        settings.pop("loaded", LOADED),
        {},
        engine or ScriptedEngine(rule="yes"),
        protocols(),
        Settings(model="scripted", out=out, **settings),
        {},
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_writes_one_line_a_sample_and_the_documented_fields(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    records = lines(outcome.folder / "predictions.jsonl")
    assert [r["sample_id"] for r in records] == [s.id for s in LOADED.samples]
    assert list(records[0]) == [
        "sample_id", "image_id", "question", "references", "answer_type", "text", "error", "finish_reason", "n_tokens",
        "seconds", "fingerprint",
    ]  # fmt: skip
    summary = json.loads((outcome.folder / "summary.json").read_text(encoding="utf-8"))
    closed = next(
        m for m in summary["metrics"]
        if (m["protocol"], m["metric"], m["slice"]) == ("llava-med", "closed_accuracy", "all")
    )  # fmt: skip
    assert (closed["value"], closed["n"], closed["n_unscored"]) == (1.0, 10, 0)
    assert closed["signature"].startswith("closed_accuracy|task:toy.test|n:10|")
    assert summary["n"] == 20
    assert summary["n_images"] == 5


def test_the_rows_of_a_tag_add_up_to_the_whole(tmp_path: Path) -> None:
    rows = run(tmp_path).rows
    for protocol, metric in {(r.protocol, r.metric) for r in rows}:
        mine = [r for r in rows if (r.protocol, r.metric) == (protocol, metric)]
        whole = next(r for r in mine if r.slice == "all")
        parts = [r for r in mine if r.slice.startswith("modality=")]
        assert sum(r.n for r in parts) == whole.n
        assert sum(r.n_unscored for r in parts) == whole.n_unscored


def test_a_second_start_asks_nothing_and_changes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path)
    before = (first.folder / "predictions.jsonl").read_bytes()
    engine = ScriptedEngine(rule="yes")
    second = run(tmp_path, engine)
    assert second.folder == first.folder
    assert engine.metadata()["asked"] == 0
    assert (first.folder / "predictions.jsonl").read_bytes() == before


class Killed(Exception):
    """Stands for a kill between two batches."""


class DyingEngine(ScriptedEngine):
    """Dies after some batches."""

    def __init__(self, batches: int) -> None:
        super().__init__(rule="digest", batch_size=3)
        self.batches = batches

    def generate(self, requests: Any) -> Any:
        for number, batch in enumerate(super().generate(requests)):
            if number == self.batches:
                raise Killed
            yield batch


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", DyingEngine(99))
    randomly = random.Random(4)
    for trial in range(5):
        out = tmp_path / f"t{trial}"
        batches = randomly.randrange(6)
        with pytest.raises(Killed):
            run(out, DyingEngine(batches))
        engine = DyingEngine(99)
        resumed = run(out, engine)
        assert engine.metadata()["asked"] == 20 - 3 * batches
        assert resumed.folder.name == whole.folder.name
        assert lines(resumed.folder / "predictions.jsonl") == lines(whole.folder / "predictions.jsonl")


def test_failures_are_counted_named_and_asked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(tmp_path, ScriptedEngine(rule="yes", fail=["0", "1"]))
    assert outcome.n_failed == 2
    row = next(r for r in outcome.rows if (r.protocol, r.metric, r.slice) == ("strict", "closed_accuracy", "all"))
    assert (row.value, row.value_unscored_wrong, row.n, row.n_unscored) == (1.0, 0.9, 10, 1)
    with pytest.raises(Partial, match="2 of 20"):
        show(outcome, "t")
    assert "scripted failure" in capsys.readouterr().err
    engine = ScriptedEngine(rule="yes")
    again = run(tmp_path, engine)
    assert engine.metadata()["asked"] == 2
    assert again.n_failed == 0
    assert len(lines(again.folder / "predictions.jsonl")) == 20


def test_resume_false_asks_everything_and_keeps_the_old_file(tmp_path: Path) -> None:
    first = run(tmp_path)
    engine = ScriptedEngine(rule="yes")
    run(tmp_path, engine, resume=False)
    assert engine.metadata()["asked"] == 20
    assert (first.folder / "predictions.jsonl.1").is_file()


def test_an_engine_that_drops_or_doubles_a_request_is_caught(tmp_path: Path) -> None:
    class Dropping(ScriptedEngine):
        """Loses the last request."""

        def generate(self, requests: Any) -> Any:
            yield from super().generate(requests[:-1])

    with pytest.raises(RuntimeError, match="not exactly once"):
        run(tmp_path, Dropping(rule="yes"))


def test_other_data_another_model_another_limit_give_another_folder(tmp_path: Path) -> None:
    other_data = replace(LOADED, samples=LOADED.samples[:-1])
    folders = {
        run(tmp_path).folder,
        run(tmp_path, loaded=other_data).folder,
        run(tmp_path, ScriptedEngine(rule="question")).folder,
        run(tmp_path, image="blank").folder,
    }
    assert len(folders) == 4


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match="limit"):
        limited(LOADED, limit)


def test_shuffled_images_move_whole_groups_and_leave_none_in_place() -> None:
    swapped = with_images(LOADED.samples, "shuffled")
    moved: dict[str, set[str]] = {}
    for before, after in zip(LOADED.samples, swapped, strict=True):
        assert after.images != before.images
        moved.setdefault(before.image_id, set()).add(after.images[0].path)
    assert all(len(places) == 1 for places in moved.values())
    assert len(set.union(*moved.values())) == len(moved)


def test_shuffling_one_image_is_refused() -> None:
    with pytest.raises(DataError, match="two different images"):
        with_images(LOADED.samples[:4], "shuffled")


def test_the_order_of_the_samples_changes_no_row(tmp_path: Path) -> None:
    mixed = list(LOADED.samples)
    random.Random(1).shuffle(mixed)
    first = run(tmp_path / "a", ScriptedEngine(rule="question")).rows
    second = run(tmp_path / "b", ScriptedEngine(rule="question"), loaded=replace(LOADED, samples=tuple(mixed))).rows
    for a, b in zip(first, second, strict=True):
        assert (a.slice, a.metric, a.n, a.signature) == (b.slice, b.metric, b.n, b.signature)
        assert a.value == pytest.approx(b.value)
