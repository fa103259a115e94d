"""The table of a paper: what stands in its cells, in each form, and beside a paper's rows."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evalkit.cli.main import main
from evalkit.core.errors import ConfigError
from evalkit.published import PublishedTable, parse_published
from evalkit.reports.numbers import value_text
from evalkit.reports.paper_table import TableSettings, paper_table, read_table_runs
from evalkit.reports.sheet import FORMS, Cell, Sheet, form_of, plain, to_html, to_latex, to_markdown
from evalkit.reports.suite_table import SuiteRun
from tests.support.made_runs import answered, failed, made_run, made_samples

N = 200
KEYS = ("strict closed_accuracy", "exact-match exact_match")


def folder_of_runs(folder: Path, n_failed: int = 0) -> Path:
    """Runs of the models a, b and c, of which a and b are alike and c is clearly worse."""
    samples = made_samples(N)
    for model, right in {"a": 150, "b": 149, "c": 80}.items():
        answers = [answered(s, s.references[0] if k < right else "?") for k, s in enumerate(samples)]
        answers[N - n_failed :] = [failed(s) for s in samples[N - n_failed :]]
        made_run(folder / f"{model}-toy-{right:08x}", samples, answers, model=model)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[SuiteRun]:
    return read_table_runs([folder_of_runs(tmp_path_factory.mktemp("runs"))])


def published(**figure: object) -> PublishedTable:
    one = {"task": "toy", "split": "test", "protocol": "strict", "metric": "closed_accuracy", "value": "61.0",
           "n": 100, "k": 61, "regime": "zero-shot", "source": "pdf"}  # fmt: skip
    return parse_published(
        {
            "schema": 1, "paper": "A <b>paper</b>", "version": "v1", "url": "https://example.org", "table": "Table 2",
            "sources": {"pdf": {"read": "Table 2", "confidence": "high"}},
            "systems": [{"id": "s", "label": "Theirs", "model": "M", "figures": [one | figure]}],
        },
        "a test",
        "p",
    )  # fmt: skip


def cells(sheet: Sheet) -> dict[str, list[Cell]]:
    return {row[0].text: list(row[1:]) for row in sheet.rows if row is not None}


def test_a_row_is_a_model_and_a_column_a_set_and_metric(runs: list[SuiteRun]) -> None:
    sheet = paper_table(runs, TableSettings(metrics=KEYS))
    assert sheet.header == ("Model", "toy closed_accuracy", "toy exact_match")
    shown = cells(sheet)
    assert list(shown) == ["a", "b", "c"]
    for run in runs:
        for cell, key in zip(shown[run.summary.model], KEYS, strict=True):
            value = run.summary.find(*key.split())
            assert value is not None and cell.text == value_text(value, value.value)
            assert cell.small == f"[{value_text(value, value.low)}, {value_text(value, value.high)}]"
    assert [cell.is_bold for row in shown.values() for cell in row] == [True, True, True, True, False, False]
    assert "under protocol strict." in sheet.caption and "exact-match.1" in sheet.caption


def test_a_bare_metric_is_every_protocols(runs: list[SuiteRun]) -> None:
    sheet = paper_table(runs, TableSettings(metrics=("closed_accuracy",)))
    protocols = {str(r["protocol"]) for r in sheet.records}
    assert protocols == {"llava-med", "strict"}
    assert len(sheet.header) == 3 and all("(" in head for head in sheet.header[1:])


def test_half_intervals_are_the_larger_half(runs: list[SuiteRun]) -> None:
    sheet = paper_table(runs, TableSettings(metrics=KEYS[:1], intervals="plus-minus", digits=1))
    m = runs[0].summary.find(*KEYS[0].split())
    assert m is not None and m.value is not None and m.low is not None and m.high is not None
    assert cells(sheet)["a"][0].small == f"± {100 * max(m.value - m.low, m.high - m.value):.1f}"
    assert any("larger half" in note for note in sheet.notes)
    assert not cells(paper_table(runs, TableSettings(intervals="none")))["a"][0].small


@pytest.mark.parametrize("intervals", ["small", "plus-minus"])
def test_an_interval_on_few_images_is_marked_in_every_form(tmp_path: Path, intervals: str) -> None:
    samples = made_samples(12)
    made_run(tmp_path / "a-toy-00000001", samples, [answered(s, s.references[0]) for s in samples], model="a")
    shown = cells(paper_table(read_table_runs([tmp_path]), TableSettings(metrics=KEYS[1:], intervals=intervals)))
    assert " eff " in shown["a"][0].small


def test_a_run_without_the_metrics_is_named_and_not_counted(tmp_path: Path) -> None:
    runs = read_table_runs([folder_of_runs(tmp_path)])
    bare = replace(runs[0], summary=replace(runs[0].summary, metrics=runs[0].summary.metrics[:1]))
    wanted = str(runs[1].summary.metrics[-1].key)
    sheet = paper_table([bare, *runs[1:]], TableSettings(metrics=(wanted,)))
    assert sheet.caption.startswith("2 models on") and list(cells(sheet)) == ["b", "c"]
    assert f"Left out, without any of these metrics: {bare.summary.run_id}." in sheet.notes


def test_unscored_rows_are_marked_with_the_worst_case(tmp_path: Path) -> None:
    sheet = paper_table(read_table_runs([folder_of_runs(tmp_path, n_failed=7)]), TableSettings(metrics=KEYS[1:]))
    assert all(row[0].text.endswith("*") for row in cells(sheet).values())
    assert any("exact_match 7 of 200 (" in note and "worst case" in note for note in sheet.notes)
    assert any("7 failed" in note for note in sheet.notes)


def test_every_form_has_the_same_values(runs: list[SuiteRun]) -> None:
    sheet = paper_table(runs, TableSettings(metrics=KEYS))
    texts = {form: write(sheet) for form, write in FORMS.items()}
    assert texts["latex"].count(r"\textbf{") == texts["html"].count("<strong>") == 4
    assert texts["markdown"].count("**") == 2 * 4
    for row in cells(sheet).values():
        for cell in row:
            assert all(cell.text in texts[form] for form in ("latex", "html", "markdown"))
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert len(rows) == 6 and {r["source"] for r in rows} == {"run"}
    assert sum(r["tied_with_best"] == "yes" for r in rows) == 4


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        ({}, "61.0"),
        ({"n": 90, "k": 55, "value": "61.11"}, "61.11‡"),
        ({"not_reproducible": "the outputs say so"}, "61.0†"),
        ({"unit": "fraction", "value": "0.610", "k": None}, "61.0"),
    ],
)
def test_the_rows_of_a_paper_stand_above_and_are_marked(
    runs: list[SuiteRun], figure: dict[str, object], shown: str
) -> None:
    sheet = paper_table(runs, TableSettings(metrics=KEYS), published(**figure))
    assert list(cells(sheet)) == ["Theirs (zero-shot)", "a", "b", "c"] and sheet.rows[1] is None
    first = cells(sheet)["Theirs (zero-shot)"]
    assert [cell.text for cell in first] == [shown, "–"] and not any(cell.is_bold for cell in first)
    assert sum(record["source"] != "run" for record in sheet.records) == 1
    assert "<b>" not in to_html(sheet) and "not tested" in " ".join(sheet.notes)


def test_a_paper_without_a_figure_for_any_column_is_refused(runs: list[SuiteRun]) -> None:
    with pytest.raises(ConfigError, match="no figure for any column"):
        paper_table(runs, TableSettings(metrics=KEYS), published(split="validation"))


def test_splits_of_one_task_are_columns_of_their_own(runs: list[SuiteRun]) -> None:
    other = replace(runs[0], summary=replace(runs[0].summary, split="validation", run_id="other-toy-00000001"))
    sheet = paper_table([*runs, other], TableSettings(metrics=KEYS[:1]))
    assert sheet.header == ("Model", "toy test", "toy validation")
    assert [cell.text for cell in cells(sheet)["b"]][1] == "–"
    assert "toy (test), toy (validation)" in sheet.caption


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TableSettings(tasks=("slak",)), "no run is on 'slak'"),
        (TableSettings(metrics=("strict closed_acuracy",)), "Did you mean 'strict closed_accuracy'"),
        (TableSettings(metrics=("closed_acuracy",)), "Did you mean 'closed_accuracy'"),
    ],
)
def test_a_task_or_metric_that_no_run_has_is_refused(
    runs: list[SuiteRun], settings: TableSettings, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        paper_table(runs, settings)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_hostile_texts_are_text_in_every_form() -> None:
    hostile = "<script>alert(1)</script>|\\input{x} & 50 %\n\n# head"
    sheet = Sheet(
        header=(hostile, hostile), rows=(plain((hostile, hostile)), None, plain(("a", "b"))), caption=hostile,
        label=hostile, notes=(hostile,), columns=("a",), records=({"a": "=1+1"},),
    )  # fmt: skip
    parser = Tags()
    parser.feed(to_html(sheet))
    assert "script" not in parser.tags and parser.tags.count("td") == 2
    assert r"\input" not in to_latex(sheet) and r"\textbackslash{}input" in to_latex(sheet)
    assert "<script>" not in to_markdown(sheet) and "\n# head" not in to_markdown(sheet)


def test_the_form_is_given_or_that_of_the_suffix() -> None:
    assert form_of(Path("a.tex"), None) == "latex" and form_of(Path("a.tex"), "csv") == "csv"
    assert form_of(None, None) == "markdown"
    for target, given in ((Path("a.doc"), None), (None, "word")):
        with pytest.raises(ConfigError):
            form_of(target, given)


@pytest.mark.slow
def test_the_verb_prints_or_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of_runs(tmp_path / "runs")
    target = tmp_path / "new" / "t.tex"
    assert main(["table", f"runs={folder}", "metrics=[strict closed_accuracy]", f"to={target}"]) == 0
    assert capsys.readouterr().out.strip().endswith(str(target))
    assert target.read_text(encoding="utf-8").startswith("% needs")
    assert main(["table", f"runs={folder}", "format=csv"]) == 0
    assert capsys.readouterr().out.startswith("model,task")
    changed = next(folder.glob("a-*")) / "scores.jsonl"
    line = json.loads(changed.read_text(encoding="utf-8").splitlines()[0])
    changed.write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert main(["table", f"runs={folder}"]) == 2
    said = capsys.readouterr()
    assert "scores.jsonl" in said.err and not said.out


@pytest.mark.few(2)
@pytest.mark.parametrize("word", ["intervals=wide", "digits=9", "format=word", "to=t.doc", "tasks=[none]"])
def test_a_setting_that_is_not_possible_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    samples = made_samples(4)
    made_run(tmp_path / "a-toy-00000001", samples, [answered(s, "no") for s in samples])
    assert main(["table", f"runs={tmp_path}", word]) == 2
    assert word.partition("=")[0] in capsys.readouterr().err
