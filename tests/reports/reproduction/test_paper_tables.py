"""A paper's table as text: terminal, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re

import pytest

from evalkit.cli.config import load_option, options
from evalkit.published import load_published
from evalkit.reports.reproduction import (
    ExtraRow,
    ReproducedCell,
    compare_paper,
    csv_text,
    extra_rows,
    latex,
    markdown,
    parse_paper,
    show,
    tally,
)
from tests.support.paper_inputs import metric, perfect, summary, system

PAPERS = {name: parse_paper(load_option("paper", name), name) for name in options("paper")}
LLAVA_MED = load_published("llava-med-vqa")
PALM = load_published("med-palm-m")


def mixed() -> tuple[list[ReproducedCell], list[ExtraRow]]:
    """Cells with several verdicts, and the row of a model that is not in the paper."""
    row = system(LLAVA_MED, "llava-med-60k-im-ft9")
    figures = {f.value: f for f in row.figures}
    runs = [
        summary(row.id, "vqa-rad", "test", [metric(figures["66.26"], 0.6626), metric(figures["80.88"], 219 / 272)]),
        summary(row.id, "slake", "test", [metric(figures["84.86"], 0.84, low=0.8, high=0.9)], generation="greedy"),
    ]
    runs.append(summary("mine", "slake", "test", [metric(figures["84.86"], 0.7251, low=0.7, high=0.75)]))
    return compare_paper(LLAVA_MED, runs), extra_rows(LLAVA_MED, runs, ["mine"])


@pytest.mark.parametrize("name", PAPERS)
def test_every_published_value_is_in_every_form(name: str) -> None:
    table = PAPERS[name].published
    cells = compare_paper(table, perfect(table))
    for write in (show, markdown, csv_text, latex):
        text = write(table, cells, ())
        for cell in cells:
            assert cell.figure.value in text, (write.__name__, cell.system.id)
        assert text == write(table, compare_paper(table, perfect(table)), ())


def test_the_terminal_shows_each_run_next_to_its_cell_and_each_reason_once() -> None:
    cells, extra = mixed()
    text = show(LLAVA_MED, cells, extra)
    line = next(k for k in text.splitlines() if k.startswith("llava-med-60k-im-ft9 "))
    assert "66.26 =66.26" in line
    assert "80.88 ≠80.51" in line
    assert "84.86 ~84.00" in line
    assert next(k for k in text.splitlines() if k.startswith("+ mine")).split().count("72.51") == 1
    assert text.count("its weights were never released") == 1
    assert "219 right, published are 220 of 272" in text


def test_recall_and_quoted_accuracy_are_in_separate_tables() -> None:
    text = show(LLAVA_MED, compare_paper(LLAVA_MED, []))
    heads = [line for line in text.splitlines() if line.startswith("   ") and "closed_accuracy" in line]
    assert ["open_recall" in h for h in heads] == [True, False, True, True]
    assert latex(LLAVA_MED, compare_paper(LLAVA_MED, [])).count(r"\begin{table}") == 4


def test_the_tally_counts_every_cell_once() -> None:
    cells, _ = mixed()
    counts = [int(n) for n in re.findall(r"(\d+) ", tally(cells))]
    assert sum(counts) == len(cells)
    assert tally(cells).startswith("1 reproduced, 1 no difference shown, 1 deviates, 1 not comparable, 5 known")


@pytest.mark.parametrize("name", PAPERS)
def test_latex_is_complete_escaped_and_has_as_many_columns_as_declared(name: str) -> None:
    table = PAPERS[name].published
    text = latex(table, compare_paper(table, perfect(table)))
    tables = text.split("% needs \\usepackage{booktabs}\n")[1:]
    for one in tables:
        letters = re.search(r"\\begin\{tabular\}\{([lr]+)\}", one)
        assert letters
        rows = [line for line in one.splitlines() if line.endswith(r" \\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(letters[1])}
        for begin, end in ((r"\toprule", r"\bottomrule"), (r"\begin{tabular}", r"\end{tabular}")):
            assert one.count(begin) == one.count(end) == 1
        assert one.count(r"\end{table}") == 1
        assert not re.search(r"(?<!\\)[_#%^~]", one.replace(r"\label{tab:" + table.name, ""))
        assert one.count("{") == one.count("}")
    assert len(set(re.findall(r"\\label\{(.+?)\}", text))) == len(tables)


def test_latex_has_runs_below_their_row_with_a_sign_and_extra_rows_last() -> None:
    cells, extra = mixed()
    lines = latex(LLAVA_MED, cells, extra).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("60K-IM 3 ep, FT 9 (the released weights) &"))
    assert lines[place + 1].startswith(r"\quad evalkit & 66.26\,$=$ & 80.51\,$\neq$ & -- & 84.00\,$\approx$")
    assert any(r"& 81.98\,$\dagger$ &" in line for line in lines)
    last = max(i for i, line in enumerate(lines) if line.startswith("mine &"))
    assert lines[last - 1] == r"\midrule"


def test_csv_has_one_line_a_cell_with_source_faults_and_counts() -> None:
    cells, extra = mixed()
    rows = list(csv.DictReader(io.StringIO(csv_text(LLAVA_MED, cells, extra))))
    assert len(rows) == len(cells) + 1
    off = next(r for r in rows if r["verdict"] == "deviates")
    assert (off["published"], off["published_k"], off["k"], off["n"]) == ("80.88", "220", "219", "272")
    assert off["difference"] == "-0.37"
    assert "284 of the 451" in off["known_faults"]
    assert "3,064-row" in off["train"]
    assert off["epochs"] == "9"
    assert all(r["source"] and r["confidence"] for r in rows[:-1])
    assert rows[-1]["verdict"] == "own row"
    assert rows[-1]["protocol"] == "llava-med"


def test_markdown_explains_faults_and_foreign_protocols() -> None:
    table = PAPERS["lingshu-medvqa"].published
    text = markdown(table, compare_paper(table, []))
    assert "1. the prompt of a question is chosen by looking at its gold answer" in text
    text_of_palm = markdown(PALM, compare_paper(PALM, []))
    assert "- `med-palm-m`: BLEU-1 and token F1 over all rows" in text_of_palm
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_markdown_escapes_untrusted_names() -> None:
    row = system(LLAVA_MED, "llava-med-60k-im-ft9")
    figure = next(f for f in row.figures if f.value == "84.86")
    hostile = "<script>alert(1)</script>|**x**"
    run = summary(hostile, "slake", "test", [metric(figure, 0.7251)])
    text = markdown(LLAVA_MED, compare_paper(LLAVA_MED, [run]), extra_rows(LLAVA_MED, [run], [hostile]))
    assert "<script>" not in text and r"&lt;script>alert(1)&lt;/script>\|\*\*x\*\*" in text
