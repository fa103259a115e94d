"""evaluate with a scripted model: resuming, failures, image modes, the files of a run."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import build, load_option
from evalkit.core.errors import ConfigError, DataError, Partial
from evalkit.core.types import ImageRef, Message, Metric, Prediction, Sample, Score
from evalkit.engines.scripted import ScriptedEngine
from evalkit.pipeline.conclude import AnalysisSettings, check_complete, show
from evalkit.pipeline.evaluate import evaluate
from evalkit.pipeline.image_modes import with_images
from evalkit.pipeline.inputs import limited
from evalkit.pipeline.settings import Settings
from evalkit.pipeline.train_split import TrainSplit
from evalkit.runs.prompt_record import read_prompt_record
from evalkit.runs.read import manifest_at
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
    rows = run(tmp_path).summary.metrics
    for protocol, metric in {(r.protocol, r.metric) for r in rows}:
        own = [r for r in rows if (r.protocol, r.metric) == (protocol, metric)]
        whole = next(r for r in own if r.slice == "all")
        parts = [r for r in own if r.slice.startswith("modality=")]
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
    """A kill between two batches."""


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
    row = next(
        r for r in outcome.summary.metrics if (r.protocol, r.metric, r.slice) == ("strict", "closed_accuracy", "all")
    )
    assert (row.value, row.value_worst_case, row.n, row.n_unscored) == (1.0, 0.9, 10, 1)
    show(outcome, "t")
    with pytest.raises(Partial, match="2 of 20"):
        check_complete(outcome)
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

    with pytest.raises(RuntimeError, match="did not answer 1 requests exactly once"):
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
    first = run(tmp_path / "a", ScriptedEngine(rule="question")).summary.metrics
    second = run(
        tmp_path / "b", ScriptedEngine(rule="question"), loaded=replace(LOADED, samples=tuple(mixed))
    ).summary.metrics
    for a, b in zip(first, second, strict=True):
        assert (a.slice, a.metric, a.n, a.signature) == (b.slice, b.metric, b.n, b.signature)
        assert a.value == pytest.approx(b.value)


def test_the_prompt_record_is_on_disk_before_the_first_answer(tmp_path: Path) -> None:
    """A kill during generation must not leave a run that can be finished without its prompt record."""
    with pytest.raises(Killed):
        run(tmp_path, DyingEngine(0))
    (folder,) = (p for p in tmp_path.iterdir() if p.is_dir())
    record = read_prompt_record(folder)
    assert record.ids == tuple(s.id for s in LOADED.samples)
    assert record.texts[0] == "user: is there a mass 0?"


def test_messages_are_built_once_a_sample(tmp_path: Path) -> None:
    calls: Counter[str] = Counter()

    class Counting(Toy):
        """Counts how often a sample's messages are built."""

        def messages(self, item: Sample) -> tuple[Message, ...]:
            calls[item.id] += 1
            return super().messages(item)

    evaluate(Counting(), LOADED, {}, ScriptedEngine(rule="yes"), protocols(), Settings(model="m", out=tmp_path), {})  # type: ignore[arg-type]
    assert set(calls.values()) == {1}


def test_the_train_split_is_read_once(tmp_path: Path) -> None:
    loads = []

    class Counting(Toy):
        """Counts how often the train split is read."""

        def load_train(self) -> LoadedTask:
            loads.append(1)
            return replace(LOADED, split="train")

    train = TrainSplit(Counting())  # type: ignore[arg-type]
    engine = ScriptedEngine(rule="yes")
    assert train.loaded.split == "train"
    settings = Settings(model="m", out=tmp_path)
    outcome = evaluate(Toy(), LOADED, {}, engine, protocols(), settings, {}, analysis=AnalysisSettings(train=train))  # type: ignore[arg-type]
    assert outcome is not None
    assert outcome.summary is not None
    assert outcome.summary.sanity_checks["baselines"]["train_rows"] == len(LOADED.samples)
    assert loads == [1]


def test_a_manifest_names_protocols_by_name_and_version(tmp_path: Path) -> None:
    manifest = manifest_at(run(tmp_path).folder / "manifest.json")
    assert [(p.name, p.version) for p in manifest.protocols] == [("llava-med", 1), ("strict", 2)]
    assert manifest.status == "done"


def test_a_finished_run_keeps_its_timing_when_nothing_is_generated(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path)
    assert first.summary.timing.n_asked == 20
    assert again.summary.timing == first.summary.timing


def test_a_run_that_starts_over_is_not_finished_before_its_end(tmp_path: Path) -> None:
    """An interrupted start-over must not leave the summary of the answers that it set aside."""
    folder = run(tmp_path, DyingEngine(99)).folder
    with pytest.raises(Killed):
        run(tmp_path, DyingEngine(1), resume=False)
    assert not (folder / "summary.json").exists()


class Omitting:
    """A plug-in protocol that defines two metrics and returns one of them, or one that it does not define."""

    name, version, unscored = "omitting", 1, "exclude"
    metrics = (Metric(name="a"), Metric(name="b"))

    def is_closed(self, sample: Sample) -> bool | None:
        return None

    def settings(self) -> dict[str, str]:
        return {}

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        return [Score(sample_id=sample.id, protocol=self.name, metric="c", value=1.0)]


def test_a_protocol_that_returns_an_undefined_metric_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"protocol omitting returned the metrics c .* that it defines: a, b"):
        evaluate(Toy(), LOADED, {}, ScriptedEngine(rule="yes"), [Omitting()], Settings(model="m", out=tmp_path), {})  # type: ignore[arg-type, list-item]
