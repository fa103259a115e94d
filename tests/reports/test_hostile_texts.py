"""Texts of data sets, of runs of others and of papers in every file that is written: nothing in them is obeyed."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from evalkit.analysis.gate import report as gate_report
from evalkit.core import console
from evalkit.core.errors import ConfigError, StoreError
from evalkit.core.files import LONGEST_NAME, safe_name
from evalkit.core.plain_text import is_hidden, one_line, spreadsheet_cell, visible
from evalkit.core.types import Sample
from evalkit.importers import read_answers
from evalkit.judge.config import JudgeConfig
from evalkit.reports import latex, markdown
from evalkit.reports.export import WRITERS, read_run
from evalkit.reports.leaderboard import TrainingExposure, add, rebuild, render
from evalkit.reports.run_page import page_data, write_page
from evalkit.runs.read import summary_at
from evalkit.runs.store import run_name
from tests.support.gate_runs import BASE, flip, gate_runs
from tests.support.gate_runs import run as gate_run
from tests.support.leaderboard import paper, result
from tests.support.made_runs import answered, made_run, made_samples
from tests.support.slow import mostly_slow

TEXTS = [
    "a\nb", "a\n# heading\n", "a\x00b", "a\x1b[31mb", "a\u202eb\u2066c", "a\r\nb", "a\tb", "a}\\input{/etc/passwd}{",
    "a\\\\\n\\end{tabular}", "%\n\\write18{id}", "=1+1", "@SUM(A1)", "-1+cmd|' /C calc'!A0", "\t=1",
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>", "a|b", "`code`", "![x](https://example.org/x)", "[a](javascript:alert(1))",
    "key: {a: 1}\nother: [", "--- !!python/object/apply:os.system [id]", "]]>", "{{7*7}}{% raw %}",
    "x" * 3000, "[/red]",
]  # fmt: skip
# A kind each: terminals, LaTeX, spreadsheets, HTML, Markdown, YAML and Jinja.
QUICK = [
    "a\x1b[31mb", "a}\\input{/etc/passwd}{", "\t=1", "</script><script>alert(1)</script>",
    "![x](https://example.org/x)", "--- !!python/object/apply:os.system [id]", "{{7*7}}{% raw %}",
]  # fmt: skip
EXPOSURE = TrainingExposure(role="model", regime="zero-shot")


def hostile_samples(text: str) -> list[Sample]:
    """Samples whose tags, questions and references are the text."""
    return [
        replace(
            s,
            question=text,
            references=(f"mass {text}", *s.references),
            tags={**s.tags, "organ": text if k % 3 else "lung"},
        )
        for k, s in enumerate(made_samples(24))
    ]


def written(folder: Path, suffix: str) -> list[str]:
    return [p.read_text(encoding="utf-8") for p in sorted(folder.rglob(f"*{suffix}")) if p.is_file()]


def check_texts(folder: Path) -> None:
    for text in written(folder, ".tex"):
        assert (
            "\\input{" not in text
            and "\n\\write18" not in text
            and text.count("\\end{tabular}") == text.count("\\begin{tabular}")
        )
        assert not any(is_hidden(c) for c in text if c != "\n")
    for text in written(folder, ".csv"):
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert all(spreadsheet_cell(cell) == cell for cell in cells)
    for text in written(folder, ".html"):
        assert text.count("<script") == text.count("</script>") <= 2 and 'href="javascript' not in text
    for text in written(folder, ".md"):
        assert "<script" not in text and not any(is_hidden(c) for c in text if c != "\n")
    for text in written(folder, ".xml"):
        ElementTree.fromstring(text)
    for text in written(folder, ".json"):
        json.loads(text)


@pytest.mark.parametrize("text", mostly_slow(TEXTS, QUICK), ids=lambda t: ascii(t[:20]))
@pytest.mark.few(2)
def test_tags_questions_answers_and_model_names_in_every_file(text: str, tmp_path: Path) -> None:
    samples = hostile_samples(text)
    run = made_run(tmp_path / "m-toy-0", samples, [answered(s, text) for s in samples], model=text or "m")
    exported = read_run(run, slices=True)
    for name, write in WRITERS.items():
        for path in write(exported, tmp_path / "export" / name):
            assert path.is_relative_to(tmp_path / "export" / name)
    for path in written(tmp_path / "export" / "hf-model-index", ".yaml"):
        content = yaml.safe_load(path.replace("---", "", 1).split("\n---", 1)[0])
        assert list(content) == ["model-index"]
    add(tmp_path / "board", replace(summary_at(run / "summary.json"), task="toy"), run, EXPOSURE)
    rebuild(tmp_path / "board")
    write_page(run / "report.html", page_data([run], {s.id: s for s in samples}, {}))
    check_texts(tmp_path)


@pytest.mark.parametrize("text", TEXTS, ids=lambda t: ascii(t[:20]))
@pytest.mark.few(10)
def test_an_answer_is_read_back_from_a_run_as_it_was_given(text: str, tmp_path: Path) -> None:
    samples = made_samples(4)
    run = made_run(tmp_path / "m-toy-0", samples, [answered(s, text) for s in samples])
    found = read_answers(run / "predictions.jsonl")
    assert [a.text for a in found.answers] == [text] * 4


@pytest.mark.few(6)
@pytest.mark.parametrize("text", TEXTS, ids=lambda t: ascii(t[:20]))
def test_the_gates_files(text: str, tmp_path: Path) -> None:
    one, two = (
        gate_run(BASE, model=text, task=text.replace("|", "¦")),
        gate_run(flip(BASE, 300, 0), "b", model=text, task=text.replace("|", "¦")),
    )
    named = [replace(r, questions=tuple(text for _ in r.ids), texts=tuple(text for _ in r.ids)) for r in (one, two)]
    gate_report.write(tmp_path, gate_report.record(gate_runs((named[0], named[1]))))
    check_texts(tmp_path)
    lines = (tmp_path / "gate.md").read_text("utf-8").splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} <= {8, 12}
    gate_report.write(tmp_path, gate_report.refusal(text))
    check_texts(tmp_path)


@pytest.mark.parametrize("text", TEXTS, ids=lambda t: ascii(t[:20]))
@pytest.mark.few(6)
def test_a_papers_table_of_someone_else(text: str, tmp_path: Path) -> None:
    table = paper([{"value": "50.0"}])
    system = replace(table.systems[0], label=text, model=text)
    table = replace(table, paper=text, table=text, url=f"javascript:{text}", systems=(system,), notes=(text,))
    for name, content in render([result("a-1")], {}, [table]).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    check_texts(tmp_path)


@pytest.mark.parametrize("text", TEXTS, ids=lambda t: ascii(t[:20]))
def test_texts_on_a_terminal_are_shown_and_not_obeyed(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.out(text)
    console.note(text)
    metric = replace(result("a-1").metrics[0], protocol=text, slice=f"organ={text}")
    console.table([metric], text, text)
    out, err = capsys.readouterr()
    assert not [c for c in out + err if is_hidden(c) and c not in "\n\t"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "a\x00", "a\nb", "x" * 300, "a|b", "c:x", "a\u202eb"]
)
def test_a_run_id_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(StoreError, match="cannot be the name of a folder"):
        run_name(name)


def test_names_of_any_length_are_one_level_of_a_path_and_differ() -> None:
    names = ["x" * 5000, "x" * 5001, "é" * 4000, "../" * 500, "模" * 99]
    safe = [safe_name(n) for n in names]
    assert len(set(safe)) == len(names)
    assert all(len(s.encode()) <= LONGEST_NAME and run_name(s) == s for s in safe)
    assert safe_name("llava-med") == "llava-med" and safe_name("Qwen/Qwen2.5-VL-7B") == "Qwen-Qwen2.5-VL-7B"


@pytest.mark.parametrize("name", ["", "../x", "/../../x", "a/b", ".a", "a b", "x" * 101, "a\n"])
def test_a_judges_name_is_a_part_of_a_files_name(name: str) -> None:
    with pytest.raises(ConfigError, match="names the file"):
        JudgeConfig(name=name, transport="local")


def test_the_texts_themselves() -> None:
    assert visible("a\x1b]0;x\x07b\u202ec\n\t") == "a\\x1b]0;x\\x07b\\u202ec\n\t"
    assert one_line("a\u202e \x00\n b") == "a b"
    values: list[Any] = ["=1", "+x", "-x", "@x", "\tx", "\rx", "+1.5", "-0.5", "–", "x=1", -2, None, 0.5]
    assert [spreadsheet_cell(v) for v in values] == [
        "'=1", "'+x", "'-x", "'@x", "'\tx", "'\rx", "+1.5", "-0.5", "–", "x=1", -2, None, 0.5
    ]  # fmt: skip
    assert latex.table(["a"], [["b"]], label="tab:}\\input{x}").count("\\input") == 0
    assert markdown.without_html("<script> `a`") == "&lt;script> `a`"
