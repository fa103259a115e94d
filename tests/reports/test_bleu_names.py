"""Tables say of BLEU which one it is; keys in files and settings stay as they are."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.cli.main import main
from evalkit.core.format import has_sentence_bleu, shown_metric
from evalkit.pipeline.conclude import Conclusion, show
from evalkit.published import load_published
from evalkit.reports.export import read_run, writer
from evalkit.reports.leaderboard import render
from evalkit.reports.reproduction import compare_paper, csv_text, latex, markdown
from evalkit.reports.reproduction import show as show_paper
from evalkit.reports.run_page import page_data
from evalkit.reports.suite_table import SuiteRun, suite_table, to_csv, to_latex, to_markdown
from evalkit.runs.verify import open_run
from tests.support.leaderboard import metric, paper, result, with_metrics
from tests.support.made_runs import answered, made_run, made_samples

SHOWN, UNSTATED = "bleu_1 (mean of sentences)", "bleu_1 (kind not stated)"
FOREIGN = {"palm": "kind of BLEU is not stated"}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs under protocols with BLEU of either kind."""
    samples, place = made_samples(12), tmp_path_factory.mktemp("bleu")
    made = []
    for model, right in (("one", 9), ("two", 6)):
        answers = [answered(s, s.references[0] if k < right else "a large mass") for k, s in enumerate(samples)]
        folder = place / f"{model}-toy-{right:08x}"
        made.append(made_run(folder, samples, answers, model=model, protocols=("nocandi", "corpus-bleu")))
    return made


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bleu", "bleu (mean of sentences)"),
        ("nocandi bleu_1", "nocandi bleu_1 (mean of sentences)"),
        ("bleu_4, answer_type=OPEN", "bleu_4 (mean of sentences), answer_type=OPEN"),
        ("nocandi bleu_2, organ=lung, left", "nocandi bleu_2 (mean of sentences), organ=lung, left"),
        ("corpus-bleu corpus_bleu", "corpus-bleu corpus_bleu"),
        ("corpus-bleu sentence_bleu", "corpus-bleu sentence_bleu"),
        ("my-bleu accuracy", "my-bleu accuracy"),
        ("bleurt", "bleurt"),
        ("open_f1, set=bleu", "open_f1, set=bleu"),
    ],
)
def test_a_name_says_what_it_is_with_its_protocol_and_slice(name: str, shown: str) -> None:
    assert shown_metric(name) == shown and has_sentence_bleu([name]) == (shown != name)
    assert shown_metric(shown) == shown


def one_line(text: str) -> str:
    """A table with the lines of LaTeX's headings joined."""
    return text.replace(r"\_", "_").replace(r"\\", " ")


def test_boards_name_it_in_every_form() -> None:
    one = with_metrics(result("a-1"), metric("bleu_1", [0.5, 0.25]), metric("corpus_bleu", [0.1, 0.2]))
    foreign = paper([{"value": "50.0", "metric": "bleu_1", "protocol": "palm"}], name="palm", foreign=FOREIGN)
    own = paper([{"value": "40.0", "metric": "bleu_1"}])
    files = render([one], {}, [own, foreign])
    for name in ("toy.md", "toy.tex"):
        text = one_line(files[name])
        assert SHOWN in text and UNSTATED in text, name
    assert f">{SHOWN}</th>" in files["toy.html"] and f">{UNSTATED}</th>" in files["toy.html"]
    assert ">corpus_bleu</th>" in files["toy.html"]
    labels = {(r["kind"], r["protocol"], r["metric"]): r["metric_label"] for r in rows(files["toy.csv"])}
    assert labels["run", "llava-med", "bleu_1"] == labels["paper", "llava-med", "bleu_1"] == SHOWN
    assert labels["paper", "palm", "bleu_1"] == UNSTATED
    assert labels["run", "llava-med", "corpus_bleu"] == "corpus_bleu"


def test_a_papers_table_says_which_one_it_means_or_that_the_paper_does_not() -> None:
    for name, expected in (("multimedeval", SHOWN), ("med-palm-m", UNSTATED)):
        table = load_published(name)
        cells = compare_paper(table, [])
        text = show_paper(table, cells) + markdown(table, cells)
        assert text.count(expected) > 1 and "bleu_1 |" not in text
        assert expected in one_line(latex(table, cells))
        found = {(r["metric"], r["metric_label"]) for r in rows(csv_text(table, cells)) if r["metric"] == "bleu_1"}
        assert found == {("bleu_1", expected)}


def test_a_suites_tables_and_exports_name_it(runs: list[Path], tmp_path: Path) -> None:
    table = suite_table("s", [SuiteRun(summary=open_run(path).summary, folder=path) for path in runs])
    assert f"| nocandi | {SHOWN} |" in to_markdown(table)
    assert SHOWN in to_latex(table).replace(r"\_", "_")
    assert {r["metric_label"] for r in rows(to_csv(table)) if r["metric"] == "bleu_1"} == {SHOWN}
    run = read_run(runs[0])
    (tex,) = writer("latex")(run, tmp_path)
    assert SHOWN in tex.read_text(encoding="utf-8").replace(r"\_", "_")
    (card,) = writer("hf-model-index")(run, tmp_path)
    assert "type: bleu_1\n" in card.read_text(encoding="utf-8") and f"name: {SHOWN}" in card.read_text(encoding="utf-8")


def test_a_runs_page_has_the_name_beside_the_key(runs: list[Path]) -> None:
    found = {m["metric"]: m.get("label") for m in page_data(runs[:1], {}, {})["runs"][0]["metrics"]}
    assert found["bleu_1"] == SHOWN and found["bleu"] == "bleu (mean of sentences)"
    assert found["corpus_bleu"] is None and found["open_f1"] is None


def test_commands_print_the_name_and_take_the_key(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = "metrics=[nocandi bleu_1]"
    assert main(["compare", f"runs=[{runs[0]},{runs[1]}]", wanted]) == 0
    assert f"nocandi {SHOWN} " in capsys.readouterr().out
    words = [f"baseline={runs[0]}", f"candidate={runs[1]}", wanted, "margin=0.3", f"out={tmp_path}"]
    assert main(["gate", *words]) in (0, 1, 4)
    assert f"nocandi {SHOWN}: " in capsys.readouterr().out
    content = json.loads((tmp_path / "gate.json").read_text(encoding="utf-8"))
    assert content["comparisons"][0]["metrics"][0]["metric"] == "nocandi bleu_1"


def test_a_runs_table_leads_to_corpus_bleu_where_it_shows_a_mean_of_sentences(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    summary = open_run(runs[0]).summary
    for kept, is_noted in (("bleu_1", True), ("open_f1", False), ("corpus_bleu", False)):
        metrics = tuple(m for m in summary.metrics if m.metric == kept)
        show(Conclusion(folder=runs[0], n_failed=0, summary=replace(summary, metrics=metrics)), "title")
        assert ("protocol=corpus-bleu" in " ".join(capsys.readouterr().out.split())) == is_noted, kept
