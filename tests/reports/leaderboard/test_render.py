"""The written tables: complete, escaped, and every number with its interval and source."""

from __future__ import annotations

import csv
import io
import re

from evalkit.reports.leaderboard import render
from evalkit.stats import wilson
from tests.support.leaderboard import metric, paper, result, stored_scores, with_metrics

EVIL = '<script>alert(1)</script>|**x**`"&\n# head'


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_number_of_runs_and_papers_is_one_line_of_the_csv() -> None:
    one = with_metrics(result("a-1"), metric("bleu_1", [0.5, 0.25]))
    files = render([one], {}, [paper([{"value": "50.0"}, {"value": "61.5", "n": None}])])
    found = {(r["row"], r["metric"]): r for r in rows(files["toy.csv"])}
    assert set(found) == {("a", "closed_accuracy"), ("a", "bleu_1")} | {
        (f"System {k}", "closed_accuracy") for k in (0, 1)
    }
    run = found["a", "closed_accuracy"]
    assert (run["value"], run["low"], run["high"], run["n"]) == ("0.5", "0.25", "0.75", "2")
    assert run["signature"] == str(one.metrics[0].signature) and run["source"] == "results/a-1.json"
    printed = found["System 0", "closed_accuracy"]
    bounds = wilson(1, 2)
    assert (printed["low"], printed["interval"]) == (str(round(bounds.low or 0, 6)), "Wilson")
    assert found["System 1", "closed_accuracy"]["not_ranked_because"].startswith("the paper does not state")


def test_a_markdown_cell_has_value_interval_n_and_unscored() -> None:
    text = render([result("a-1", [1.0, 1.0, 0.0, None])], {}, [])["toy.md"]
    assert "66.67 [25.0, 75.0] n=4 (1 unscored; 50.00 in the worst case)" in text
    assert "closed_accuracy|task:toy.test|n:4|slice:all|data:dddddddd" in text


def test_a_paper_keeps_its_digits_with_its_faults_and_its_source() -> None:
    table = paper(
        [{"value": "94.50", "faults": ["f"]}, {"value": "0.535", "unit": "fraction", "metric": "mean_iou"}],
        faults={"f": "the epoch was picked on the test set"},
        notes=["read this"],
    )
    text = render([], {}, [table])["toy.md"]
    assert re.search(r"94\.50\[1\] ~\[", text) and "- [1] the epoch was picked on the test set" in text
    assert "| 53.5 n=2 |" in text
    assert "[paper, Table 1](https://example.org/paper)" in text and "  - read this" in text


def test_bold_and_ties_are_in_markdown_and_latex() -> None:
    good, bad = [1.0] * 70 + [0.0] * 10, [1.0] * 20 + [0.0] * 60
    results = [result("a-1", good), result("b-1", bad), result("c-1", good)]
    stored = {r.run_id: stored_scores(r, v) for r, v in zip(results, (good, bad, good), strict=True)}
    two = {k: stored[k] for k in ("a-1", "b-1")}
    files = render(results[:2], two, [])
    assert "| 1 | a | **87.50** [" in files["toy.md"] and r"1 & a & \textbf{87.50} [" in files["toy.tex"]
    files = render(results, stored, [])
    assert "**" not in files["toy.md"] and "textbf" not in files["toy.tex"]
    assert files["toy.md"].count("87.50 ≈") == 2 and files["toy.tex"].count(r"87.50 $\approx$") == 2


def test_latex_has_booktabs_rules_and_balanced_tables() -> None:
    text = render([result("a_b-1")], {}, [paper([{"value": "50.0"}])])["toy.tex"]
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == text.count(r"\begin{tabular}") == text.count(r"\end{table}") > 0
    assert r"a\_b" in text


def test_untrusted_names_are_text_everywhere() -> None:
    table = paper([{"value": "50.0", "faults": ["f"]}], faults={"f": EVIL}, notes=[EVIL])
    files = render([result("a-1", model=EVIL, notes=(EVIL,), prompt=EVIL)], {}, [table])
    assert not [name for name in ("toy.md", "toy.html", "index.html") if "<script>alert" in files[name]]
    assert "&lt;script&gt;alert(1)" in files["toy.html"] and r"\u003cscript\u003ealert(1)" in files["index.html"]
    widths = {len(re.findall(r"(?<!\\)\|", x)) for x in files["toy.md"].splitlines() if x.startswith("|")}
    assert len(widths) == 1 and "\n# head" not in files["toy.md"]
    assert any(r["row"] == EVIL for r in rows(files["toy.csv"]))


def test_headline_metrics_are_columns_and_the_others_are_in_csv_and_page() -> None:
    one = with_metrics(result("a-1"), metric("open_recall", [0.5]), metric("bleu_1", [0.5, 0.25]))
    files = render([one], {}, [])
    assert "| model | closed_accuracy | open_recall | how | source |" in files["toy.md"]
    assert "bleu_1" not in files["toy.md"] and "bleu_1" in files["toy.csv"] and "bleu_1" in files["toy.html"]


def test_only_a_lower_is_better_column_of_the_page_is_marked_as_such() -> None:
    values = [1.0, 0.0]
    lower = result("a-1", values, metrics=(metric("accuracy", values, higher_is_better=False),))
    assert '<th scope="col" class="number" data-best="lowest">accuracy</th>' in render([lower], {}, [])["toy.html"]
    assert 'data-best="lowest"' not in render([result("a-1")], {}, [])["toy.html"]


def test_rows_of_a_paper_whose_rows_depend_on_each_other_have_no_interval_and_no_effect() -> None:
    """An interval of independent rows covered 30 % on frames of videos."""
    figures = [{"value": "90.00", "n": 1000}]
    for dependent in ("", "most rows are frames of a few videos"):
        text = render([], {}, [paper(figures, dependent=dependent)])["toy.md"]
        assert ("~[" in text) is not bool(dependent)
        assert ("Minimum detectable effect" in text) is not bool(dependent)
        assert ("Rows of papers have no interval: most rows are frames of a few videos." in text) is bool(dependent)
    printed = [{"value": "90.00", "n": 1000, "low": "80.00", "high": "95.00"}]
    assert "[80.0, 95.0]" in render([], {}, [paper(printed, dependent="frames")])["toy.md"]


def test_an_interval_of_few_images_is_marked_and_the_worst_case_has_its_own() -> None:
    value = metric(
        "closed_accuracy",
        [1.0, 0.0, None],
        low=0.1,
        high=0.9,
        low_worst_case=0.05,
        high_worst_case=0.8,
        n_effective=2.5,
    )
    text = render([result("a-1", [1.0, 0.0, None], metrics=(value,))], {}, [])["toy.md"]
    assert "[10.0, 90.0] eff 2.5" in text
    assert "1 unscored; 33.33 [5.00, 80.00] in the worst case" in text
