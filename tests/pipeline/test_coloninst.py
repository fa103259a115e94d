"""From the command line to the numbers: predictions in the authors' format, and models over the made-up tree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.published import load_published
from evalkit.tasks.coloninst import SEEN_NOTE
from tests.support.coloninst_tree import build, dialogue, records, write, written

TAIL = ',\n{\n    "eval_result": {\n        "CLS": 0.5\n    }\n}'


def summary(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """What the last command wrote, and what it said."""
    said = capsys.readouterr()
    content: dict[str, Any] = json.loads(Path(said.out.splitlines()[-1], "summary.json").read_text(encoding="utf-8"))
    return content, said.out + said.err


def metric(content: dict[str, Any], name: str, slice_name: str = "all") -> dict[str, Any]:
    (found,) = [m for m in content["metrics"] if (m["metric"], m["slice"]) == (name, slice_name)]
    return found  # type: ignore[no-any-return]


def answered(kind: str, folder: str, n: int = 20, wrong: int = 5) -> list[dict[str, Any]]:
    """Made-up records with predictions, the first `wrong` of which are none of the labels and no box."""
    items = records(kind, folder, n)
    for index, item in enumerate(items):
        said = "I do not know" if index < wrong else item["conversations"][1]["value"]
        item["conversations"].append({"from": "prediction", "value": said})
    return items


def counted(kind: str, n: int, k: int) -> list[dict[str, Any]]:
    """The seen split's size of records, exactly k of them answered right."""
    question = {"cls": "Categorize the object.", "reg": f"What is the category for {written((1, 2, 30, 40))}?"}[kind]
    return [
        dialogue(f"KUMC/Val/polyp/{i % 9}_{i}.jpg", question, "polyp", "polyp" if i < k else "adenoma")
        for i in range(n)
    ]


@pytest.mark.slow
def test_a_predictions_file_with_the_recovered_count_prints_the_published_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "val_pred_cls.json", counted("cls", 8929, 8379))
    arguments = ["score", f"predictions={file}", "task=coloninst-cls", "task.split=seen", f"out={tmp_path}/runs"]
    assert main([*arguments, "name=llava-med-v1.0-ext"]) == 0
    content, said = summary(capsys)
    assert "93.84" in said
    assert SEEN_NOTE in said
    assert round(metric(content, "accuracy")["value"] * 8929) == 8379
    assert main(["paper", f"runs={tmp_path}/runs", f"file={tmp_path}/table.md"]) == 0
    assert "93.84 =93.84" in capsys.readouterr().out
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert re.search(r"\| 93\.84 \| 93\.84 \| [\d.]+ to [\d.]+ \| \+0\.00 \| reproduced \|", table)


SEEN = [(s.id, f) for s in load_published("coloninst").systems for f in s.figures if f.k is not None]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "figure"), SEEN, ids=[f"{m}-{f.task}" for m, f in SEEN])
def test_every_seen_value_comes_out_to_the_digit(
    model: str, figure: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "pred.json", counted(figure.task.removeprefix("coloninst-"), figure.n, figure.k))
    arguments = ["score", f"predictions={file}", f"task={figure.task}", "task.split=seen", f"out={tmp_path}/runs"]
    assert main([*arguments, f"name={model}"]) == 0
    _, said = summary(capsys)
    row = next(line for line in said.splitlines() if " accuracy " in line)
    assert f" {figure.value} " in row


@pytest.mark.parametrize("kind", ["cls", "reg", "rec", "cap"])
@pytest.mark.parametrize("tail", ["", TAIL, TAIL * 2])
@pytest.mark.few(4)
def test_files_that_the_evaluator_wrote_into_are_scored(
    kind: str, tail: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "test_pred.json"
    file.write_text(json.dumps(answered(kind, "test")) + tail, encoding="utf-8")
    arguments = ["score", f"predictions={file}", f"task=coloninst-{kind}", f"out={tmp_path}/runs"]
    assert main([*arguments, "task.allow_counts=true"]) == 0
    content, said = summary(capsys)
    name = {"cls": "accuracy", "reg": "accuracy", "rec": "mean_iou", "cap": "rouge_l"}[kind]
    assert metric(content, name)["n"] == 20
    if kind == "cap":
        assert "do not score captions" in said
    else:
        assert metric(content, name)["value"] == 0.75
        assert metric(content, "unparsable_rate")["value"] == 0.25
        assert metric(content, name, "source=PolypGen")["n"] == 4
        assert metric(content, name, "category=polyp")["n"] == 8 - (kind != "cls")


@pytest.mark.slow
def test_the_same_file_may_be_named_as_the_data_or_the_released_tree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = build(tmp_path / "ColonINST", images=False)
    items = answered("reg", "test")
    straight, turned = write(tmp_path / "a.json", items), write(tmp_path / "b.json", items[::-1])
    found = []
    for file, path in ((straight, straight), (straight, tree), (turned, tree), (turned, turned)):
        arguments = ["score", f"predictions={file}", f"task.path={path}", "task=coloninst-reg", f"out={tmp_path}/runs"]
        assert main([*arguments, "task.allow_counts=true", "name=m"]) == 0
        content, _ = summary(capsys)
        found.append((content["data_sha256"], [(m["metric"], m["slice"], m["value"]) for m in content["metrics"]]))
    assert [f == found[0] for f in found] == [True] * 4


def test_a_missing_prediction_turn_is_named_and_shifts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = answered("rec", "test", wrong=0)
    items[7]["conversations"].pop()
    file = write(tmp_path / "pred.json", items)
    arguments = ["score", f"predictions={file}", "task=coloninst-rec", f"out={tmp_path}/runs", "task.allow_counts=true"]
    assert main(arguments) == 3
    said = capsys.readouterr()
    assert "no prediction turn" in said.err
    content = json.loads(next((tmp_path / "runs").glob("*/summary.json")).read_text(encoding="utf-8"))
    found = metric(content, "mean_iou")
    assert (found["value"], found["n"], found["n_unscored"], found["value_worst_case"]) == (1.0, 20, 1, 0.95)
    assert metric(content, "unparsable_rate")["value_worst_case"] == 0.05


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(answered("cls", "test")), "45284"),
        (json.dumps(records("cls", "test", 20)), "no conversation has a turn from 'prediction'"),
        ("[[" + json.dumps(answered("cls", "test"))[1:], ""),
        (json.dumps(answered("cls", "test"))[:-400], ""),
        (json.dumps(answered("reg", "test")), "belong to the task reg"),
        (json.dumps(answered("cls", "val")), "split seen"),
    ],
)
def test_what_upstream_passes_over_in_silence_is_an_error(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pred.json"
    file.write_text(content, encoding="utf-8")
    assert main(["score", f"predictions={file}", "task=coloninst-cls", f"out={tmp_path}/runs"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.few(2)
@pytest.mark.parametrize("kind", ["cls", "reg", "rec", "cap"])
@pytest.mark.parametrize("model", ["scripted", pytest.param("phantom-llava", marks=pytest.mark.slow)])
def test_a_model_goes_through_the_whole_path(
    kind: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = build(tmp_path / "ColonINST", n=10)
    arguments = ["run", f"model={model}", f"task=coloninst-{kind}", f"task.path={tree}", "task.allow_counts=true"]
    assert main([*arguments, f"out={tmp_path}/runs"]) == 0
    content, _ = summary(capsys)
    assert (content["n"], content["n_failed"]) == (10, 0)
    assert content["metrics"][0]["n"] == 10


def test_the_page_shows_each_dialogue_its_own_image_with_the_size_that_its_boxes_are_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = build(tmp_path / "ColonINST", n=10)
    file = write(tmp_path / "pred.json", answered("rec", "test", n=10))
    arguments = ["score", f"predictions={file}", f"task.path={tree}", "task=coloninst-rec", f"out={tmp_path}/runs"]
    assert main([*arguments, "task.allow_counts=true"]) == 0
    run = Path(capsys.readouterr().out.splitlines()[-1])
    assert main(["report", f"run={run}"]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    shown = {(i.rsplit("/", 1)[1].removesuffix("#2"), k) for i, k in zip(data["ids"], data["picture"], strict=True)}
    assert len(shown) == len({name for name, _ in shown}) == len({k for _, k in shown}) == 9
    assert len(data["image_ids"]["of"]) < len(data["pictures"]) == 9
    assert {tuple(p["size"]) for p in data["pictures"]} == {(64, 48)}
