"""Results: tables, values, comparison, gate, page, copies; runs that are read; how they are shown."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pandas as pd
import pytest

import evalkit
from evalkit.errors import ConfigError, DataError, EvalkitError, StoreError
from tests.support.command_line import in_this_process as command


@pytest.fixture(scope="module")
def model() -> evalkit.Result:
    return evalkit.evaluate("phantom-llava")


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> evalkit.Result:
    return evalkit.evaluate("majority", out=tmp_path_factory.mktemp("runs"))


def test_the_metrics_are_those_of_the_summary(model: evalkit.Result) -> None:
    frame = model.metrics
    stated = json.loads((model.folder / "summary.json").read_text())["metrics"]
    for column in ("protocol", "metric", "slice", "n", "n_unscored", "signature"):
        assert frame[column].tolist() == [m[column] for m in stated]
    for column in ("value", "low", "high"):
        assert frame[column].dtype == "float64"
        assert [None if pd.isna(v) else v for v in frame[column]] == [m[column] for m in stated]


def test_a_value_has_what_must_travel_with_it(model: evalkit.Result) -> None:
    value = model["llava-med", "closed_accuracy"]
    assert value.low is not None and value.high is not None and value.low < float(value) < value.high
    assert (value.n, value.n_unscored, value.direction) == (371, 0, "higher is better")
    assert value.signature is not None and value.signature.startswith("closed_accuracy|task:phantom.test|n:371|")
    assert str(value) == "llava-med closed_accuracy: 95.96 % [93.35, 97.75], n 371"
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.n = 3  # type: ignore[misc]
    part = model["llava-med", "closed_accuracy", "modality=CT"]
    assert part.slice == "modality=CT" and 0 < part.n < value.n


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("llava-med", "closed_acuracy"), "Did you mean 'llava-med closed_accuracy'"),
        (("llava-med", "closed_accuracy", "modality=XX"), "has no slice 'modality=XX'"),
        ("llava-med closed_accuracy", "names no metric"),
        (("llava-med",), "names no metric"),
    ],
)
def test_a_metric_that_is_not_there_is_an_error_with_near_names(
    model: evalkit.Result, key: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        model[key]  # type: ignore[index]
    with pytest.raises(KeyError):
        model[key]  # type: ignore[index]


def test_the_samples_are_one_row_a_sample_and_protocol(model: evalkit.Result) -> None:
    frame = model.samples
    assert len(frame) == 600 * 3 and frame.groupby("protocol").sample_id.nunique().tolist() == [600, 600, 600]
    assert frame.sample_id[::3].tolist() == [s.id for s in evalkit.load_task().samples]
    for (protocol, metric), rows in model.metrics[model.metrics.slice == "all"].groupby(["protocol", "metric"]):
        scores = frame[frame.protocol == protocol][metric].dropna()
        if len(scores):
            assert scores.mean() == pytest.approx(rows.value.iloc[0])


@pytest.mark.slow
def test_a_comparison_is_that_of_the_command_line(model: evalkit.Result, blind: evalkit.Result, tmp_path: Path) -> None:
    found = model.compare(blind)
    said = command("compare", f"runs=[{model.folder},{blind.folder}]", cwd=tmp_path).stdout
    assert found.text.strip() == said.strip() == repr(found).strip()
    row = found.metrics.set_index("metric").loc["strict exact_match"]
    assert row["second"] - row["first"] == pytest.approx(row["difference"]) and row["difference"] < 0
    assert row["n_worse"] > row["n_better"] and row["p"] < 0.01 and row["low"] < row["difference"] < row["high"]
    assert len(found.changed) == len(set(found.changed.sample_id)) > 100
    assert model.compare(str(blind.folder), ["strict exact_match"]).metrics.metric.tolist() == ["strict exact_match"]
    with pytest.raises(ConfigError, match="expected a list"):
        model.compare(blind, "strict exact_match")


@pytest.mark.slow
def test_a_gate_gives_a_verdict_and_never_exits(model: evalkit.Result, blind: evalkit.Result, tmp_path: Path) -> None:
    bad = blind.gate(model)
    assert bad.verdict == "fail" and not bad.passed and not bad
    assert model.gate(blind).verdict == "improved" and model.gate(blind)
    assert model.gate(model, margin=0.05).verdict == "pass" and "gate: pass" in repr(model.gate(model, margin=0.05))
    written = command("gate", f"baseline={model.folder}", f"candidate={blind.folder}", "out=g", cwd=tmp_path)
    assert written.returncode == 1
    content = json.loads((tmp_path / "g" / "gate.json").read_text())
    assert json.loads(json.dumps(bad.content)) == content
    # Copies under another protocol are left out.
    assert 5 <= len(bad.metrics) < 10 and set(bad.metrics.verdict) == {"fail"}
    assert not list(blind.folder.glob("gate*"))
    narrow = model.gate(model, metrics=["strict exact_match"])
    assert narrow.metrics.metric.tolist() == ["strict exact_match"]
    assert any("rows can certify a margin" in text for text in narrow.warnings)
    with pytest.raises(ConfigError, match="save= is not possible"):
        model.gate(blind, save="x.json")


@pytest.mark.slow
def test_runs_that_do_not_fit_are_refused(model: evalkit.Result) -> None:
    part = evalkit.evaluate("majority", limit=20)
    for ask in (model.compare, model.gate):
        with pytest.raises(DataError, match="not comparable"):
            ask(part)
        with pytest.raises(ConfigError, match="is no run"):
            ask(3)  # type: ignore[arg-type]
        with pytest.raises(StoreError):
            ask("nowhere")


def test_a_page_is_written(model: evalkit.Result, blind: evalkit.Result, tmp_path: Path) -> None:
    page = model.report(tmp_path / "page.html", against=blind, images=False)
    assert page == tmp_path / "page.html" and page.stat().st_size > 50_000
    assert blind.report().parent == blind.folder


def test_a_saved_run_is_read_as_it_was(model: evalkit.Result, tmp_path: Path) -> None:
    place = model.save(tmp_path / "kept")
    assert place == model.save(tmp_path / "kept") == tmp_path / "kept" / model.run_id
    read = evalkit.read_run(place)
    assert read.metrics.equals(model.metrics) and read.samples.equals(model.samples)
    assert read.warnings == model.warnings and read.save(tmp_path / "kept") == place
    (place / "scores.jsonl").write_text("")
    with pytest.raises(StoreError, match=r"scores\.jsonl is not the file"):
        evalkit.read_run(place)


@pytest.mark.slow
def test_another_run_of_the_same_name_is_not_replaced(tmp_path: Path) -> None:
    one = evalkit.evaluate("scripted", limit=3, settings={"model.rule": "yes"})
    place = one.save(tmp_path)
    again = evalkit.score(["yes"] * 3, limit=3)
    again.folder = again.folder.rename(again.folder.with_name(place.name))
    with pytest.raises(StoreError, match="is another run"):
        again.save(tmp_path)
    assert evalkit.read_run(place).metrics.equals(one.metrics)


def test_all_runs_of_a_folder_are_one_table(tmp_path: Path) -> None:
    for rule in ("yes", "question"):
        evalkit.evaluate("scripted", limit=4, name=rule, settings={"model.rule": rule}, out=tmp_path)
    frame = evalkit.read_runs(tmp_path)
    assert sorted(frame.model.unique()) == ["question", "yes"] and frame.run_id.nunique() == 2
    broken = next(tmp_path.glob("yes-*"))
    (broken / "summary.json").unlink()
    with pytest.warns(UserWarning, match="is left out"):
        assert evalkit.read_runs([tmp_path]).model.unique().tolist() == ["question"]
    with pytest.raises(StoreError):
        evalkit.read_runs(tmp_path / "nothing")
    with pytest.raises(StoreError):
        evalkit.read_run(broken)


def test_texts_of_others_are_escaped_and_harmless_where_a_result_is_shown() -> None:
    name = "<script>alert(1)</script> [bold]"
    result = evalkit.evaluate(lambda image, question: "<b>", limit=20, name=name, protocols="strict")
    html = result._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "<b>'" not in html
    assert name in repr(result) and "all 20 answers are the same" in repr(result) and "all 20" in html


def test_a_result_is_shown_as_the_command_line_shows_it(model: evalkit.Result, tmp_path: Path) -> None:
    said = command("run", cwd=tmp_path)
    table = said.stdout.split("\n\n")[0]
    shown = [line.strip() for line in repr(model).splitlines() if line.strip()]
    assert [line.strip() for line in table.splitlines() if "─" not in line and line.strip()][:6] == [
        line for line in shown if "─" not in line
    ][:6]
    from rich.console import Console

    console = Console(width=120, record=True, file=io.StringIO())
    console.print(model)
    assert "closed_accuracy" in console.export_text()


def test_a_place_that_cannot_be_written_is_one_paragraph_and_leaves_nothing(
    model: evalkit.Result, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for write in (
        lambda: model.save(tmp_path / "file"),
        lambda: model.report(tmp_path),
        lambda: model.report(tmp_path / "file" / "page.html"),
    ):
        with pytest.raises(EvalkitError, match=str(tmp_path)) as caught:
            write()
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
