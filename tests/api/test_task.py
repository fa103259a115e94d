"""A data set from Python: examples, requests, tables given as DataFrames, torch's DataLoader."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import evalkit
from evalkit.errors import ConfigError, DataError


def picture(k: int) -> Image.Image:
    return Image.fromarray(np.full((20 + k, 30, 3), 40 * k, dtype=np.uint8))


def table(images: list[object]) -> pd.DataFrame:
    return pd.DataFrame(
        {"image": images, "question": ["Is it grey?", "What is it?", "Is it red?"], "answer": ["yes", "a square", "no"]}
    )


def test_an_example_has_what_a_model_is_shown_and_asked() -> None:
    data = evalkit.load_task("phantom", limit=5)
    first = data[0]
    assert first["prompt"].startswith(first["question"]) and first["prompt"] != first["question"]
    assert first["image"] is not None and first["image"].mode == "RGB" and len(first["images"]) == 1
    assert [e["id"] for e in data] == [s.id for s in data.samples] == [e["id"] for e in data[0:5]]
    assert data[-1]["id"] == data.samples[-1].id and len(data[1:3]) == 2
    with pytest.raises(IndexError):
        data[5]
    assert "phantom" in repr(data) and "5 samples" in repr(data)


def test_the_requests_are_those_of_a_run() -> None:
    data = evalkit.load_task("phantom", limit=5)
    run = evalkit.evaluate("phantom-llava", data)
    assert [r.sample_id for r in data.requests] == [s.id for s in data.samples]
    from evalkit.runs.read import prompts_at

    prompts = prompts_at(run.folder / "prompts.json")
    assert prompts.images_of is not None
    assert [tuple(d[:16] for d in r.image_digests) for r in data.requests] == [
        prompts.images[k] for k in prompts.images_of
    ]


def test_it_is_a_data_set_of_torch() -> None:
    from torch.utils.data import DataLoader

    data = evalkit.load_task("phantom", limit=6, sample=6)
    loader = DataLoader(data, batch_size=4, collate_fn=list)  # type: ignore[arg-type]
    assert [e["id"] for batch in loader for e in batch] == [s.id for s in data.samples]
    assert pickle.loads(pickle.dumps(data))[3]["id"] == data[3]["id"]  # as workers that are spawned get it


@pytest.mark.slow
def test_a_loaded_task_brings_its_limit_and_its_selection() -> None:
    data = evalkit.load_task("phantom", limit=5, **{"task.where": {"modality": "CT"}})
    ids = [s.id for s in data.samples]
    run = evalkit.evaluate(lambda image, question: "yes", data, protocols="strict")
    scored = evalkit.score(["yes"] * 5, data, protocols="strict")
    assert run.samples.sample_id.tolist() == scored.samples.sample_id.tolist() == ids
    assert evalkit.evaluate(lambda image, question: "yes", data, limit=2, protocols="strict").summary.n == 2


def test_settings_choose_the_split_and_the_prompt() -> None:
    train = evalkit.load_task("phantom", limit=3, **{"task.split": "train", "task.prompt": "plain"})
    assert train.split == "train" and train[0]["prompt"] == train[0]["question"]


@pytest.mark.few(2)
@pytest.mark.parametrize("kind", ["images", "paths", "relative", "bytes"])
def test_a_frame_is_a_table_of_questions(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for k in range(3):
        picture(k).save(tmp_path / f"{k}.png")
    given = {
        "images": [picture(k) for k in range(3)],
        "paths": [tmp_path / f"{k}.png" for k in range(3)],
        "relative": [f"{k}.png" for k in range(3)],
        "bytes": [(tmp_path / f"{k}.png").read_bytes() for k in range(3)],
    }[kind]
    frame = table(given)
    before = frame.copy()
    data = evalkit.load_task(frame)
    assert [np.asarray(e["image"]).tolist() for e in data] == [np.asarray(picture(k)).tolist() for k in range(3)]
    result = evalkit.evaluate(lambda image, question: "yes", frame, protocols="strict", name="mine")
    assert result.summary.task == "table" and result["strict", "closed_accuracy"].value == 0.5
    assert frame.equals(before)
    place = result.save(tmp_path / "runs")
    del result, data
    again = evalkit.read_run(place)
    assert "tables" in str(again.report(images=False).parent.parent / "tables")
    kept = list((tmp_path / "runs" / "tables").glob("*.parquet"))
    assert len(kept) == 1 and again.manifest is not None and again.manifest.section("task")["path"] == str(kept[0])


def test_an_index_with_a_name_is_a_column() -> None:
    frame = table([picture(k) for k in range(3)]).assign(id=["x", "y", "z"]).set_index("id")
    assert [s.id for s in evalkit.load_task(frame).samples] == ["x", "y", "z"]


def test_a_file_is_a_table(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "mine.csv").write_text("image,question,answer\na.png,Is it grey?,yes\n")
    for given in (tmp_path / "mine.csv", str(tmp_path / "mine.csv")):
        assert evalkit.load_task(given).name == "mine"
    assert evalkit.load_task("table", tmp_path / "mine.csv").name == "mine"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame([["a", "b", "c"]], columns=["question", "question", "answer"]), "two columns 'question'"),
        (pd.DataFrame({1: ["a"], "question": ["b"]}), "the column 1, whose name is no text"),
        (pd.DataFrame({"question": ["a"]}), "answer"),
        (pd.DataFrame({"question": [], "answer": []}), "no row|empty|contains"),
        (pd.DataFrame({"question": ["a", 1], "answer": ["b", "c"], "image": ["x", b"y"]}), "cannot be kept"),
        (pd.DataFrame({"question": ["a"], "answer": [None], "image": [picture(1)]}), "answer"),
    ],
    ids=["twice", "number", "no answer", "empty", "mixed", "null"],
)
def test_a_frame_that_is_no_table_is_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        evalkit.load_task(frame)
    assert "\n" not in str(caught.value)


def test_a_place_is_given_once(tmp_path: Path) -> None:
    for arguments in ((table([picture(k) for k in range(3)]), "x"), (Path("a.csv"), "b.csv")):
        with pytest.raises(ConfigError, match="path"):
            evalkit.load_task(*arguments)
    with pytest.raises(ConfigError, match="There is no task named 'slak'"):
        evalkit.load_task("slak")
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        evalkit.load_task("nowhere.csv")
