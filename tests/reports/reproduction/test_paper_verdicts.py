"""Verdicts on cells: of runs with the published counts, and of runs that are off by one."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import load_option, options
from evalkit.core.errors import ConfigError, DataError, StoreError
from evalkit.core.signature import Signature
from evalkit.core.types import MetricValue
from evalkit.published import load_published
from evalkit.reports.reproduction import compare_paper, extra_rows, missing_runs, parse_paper, read_summaries
from evalkit.reports.reproduction.verdict import why_irreproducible
from evalkit.runs.schema import JudgedFile
from evalkit.runs.store import write_record
from tests.support.paper_inputs import changed, impossible, metric, perfect, run_value, summary, system

LLAVA_MED = load_published("llava-med-vqa")
CHAT = load_published("llava-med-chat")
LINGSHU = load_published("lingshu-medvqa")
PAPERS = {name: parse_paper(load_option("paper", name), name) for name in options("paper")}
FT9 = "llava-med-60k-im-ft9"


@pytest.mark.parametrize("name", ["llava-med-vqa", "coloninst", "llava-med-chat", "lingshu-medvqa", "m2i2"])
def test_runs_with_the_published_counts_reproduce_every_cell_that_a_count_can_print(name: str) -> None:
    table = load_published(name)
    cells = compare_paper(table, perfect(table))
    assert len(cells) == sum(len(s.figures) for s in table.systems)
    odd = {(c.system.id, c.figure.value) for c in cells if c.verdict != "reproduced"}
    assert odd == impossible(table)
    assert {c.verdict for c in cells} <= {"reproduced", "known not to be reproducible"}
    assert all(c.printed == c.figure.value for c in cells if c.verdict == "reproduced")


def _with_hits(more: int, metric: MetricValue) -> float:
    """The value with so many more right answers."""
    return (round((metric.value or 0.0) * metric.n) + more) / metric.n


def test_one_closed_answer_more_or_less_deviates_in_every_row() -> None:
    for step in (1, -1):
        shift = functools.partial(_with_hits, step)
        runs = changed(perfect(LLAVA_MED), "closed_accuracy", shift)
        cells = [c for c in compare_paper(LLAVA_MED, runs) if c.figure.k is not None]
        assert len(cells) > 90
        assert {(c.system.id, c.figure.value) for c in cells if c.verdict != "deviates"} == {
            ("llava-med-vicuna", "83.17")  # the authors' own output is another
        }
        cells = [c for c in cells if c.verdict == "deviates"]
        assert all(f"{(c.figure.k or 0) + step} right, published are {c.figure.k}" in c.why for c in cells)


def test_one_open_answer_more_deviates_in_every_row() -> None:
    runs = changed(perfect(LLAVA_MED), "open_recall", lambda m: (m.value or 0.0) + 1 / m.n)
    cells = [c for c in compare_paper(LLAVA_MED, runs) if c.figure.metric == "open_recall"]
    wrong = {(c.system.id, c.figure.value) for c in cells if c.verdict != "deviates"}
    assert wrong == {
        ("llava-med-60k-im-ft15", "61.52"), ("llava-med-vicuna", "84.71"), ("llava-med-vicuna", "38.87"),
    }  # fmt: skip
    assert {c.verdict for c in cells} == {"deviates", "known not to be reproducible"}


def test_a_value_that_no_count_prints_as_comes_with_the_count_that_was_cut() -> None:
    row = system(LLAVA_MED, "llava-med-vicuna")
    figure = next(f for f in row.figures if f.value == "81.98")
    why = "no number of right answers among 272 prints as 81.98; 223 of 272 is cut to it instead of rounded"
    for fraction in (223 / 272, 222 / 272, 0.5):
        run = summary(row.id, "vqa-rad", "test", [metric(figure, fraction)])
        cell = next(c for c in compare_paper(LLAVA_MED, [run]) if c.figure is figure)
        assert (cell.verdict, cell.why) == ("known not to be reproducible", why)
    without = next(c for c in compare_paper(LLAVA_MED, []) if c.figure is figure)
    assert (without.verdict, without.why) == ("known not to be reproducible", why)


def test_a_value_that_is_not_even_cut_says_no_more_than_that() -> None:
    row = system(LINGSHU, "lingshu-7b")
    assert why_irreproducible(LINGSHU, row, row.figures[0]) == "no number of right answers among 451 prints as 67.9"


def test_a_contradicted_cell_is_reproduced_by_a_run_that_hits_it_and_else_names_the_authors_own_value() -> None:
    row = system(LLAVA_MED, "llava-med-60k-im-ft15")
    for fraction, verdict in ((0.6152, "reproduced"), (0.61527, "known not to be reproducible")):
        run = summary(row.id, "vqa-rad", "test", [metric(row.figures[0], fraction)])
        cell = next(c for c in compare_paper(LLAVA_MED, [run]) if c.run and c.figure.metric == "open_recall")
        assert cell.verdict == verdict
        assert ("61.527" in cell.why) == (verdict != "reproduced")


def test_without_runs_a_cell_is_not_run_or_known_to_be_irreproducible() -> None:
    cells = compare_paper(LLAVA_MED, [])
    by = {(c.system.id, c.figure.value): c for c in cells}
    assert by[FT9, "66.26"].verdict == "not run"
    assert by[FT9, "66.26"].why == ""
    assert by["llava-med-13b", "31.66"].why == "its weights were never released"
    assert {c.verdict for c in compare_paper(CHAT, [])} == {"known not to be reproducible"}


def verdict_of(generation: str, fraction: float, accept: str = "auto", **changes: Any) -> tuple[str, str]:
    """Verdict and reason for a value with an interval of 5 points on either side."""
    figure = next(f for f in system(LLAVA_MED, FT9).figures if f.value == "80.88")
    found = metric(figure, fraction, **{"low": fraction - 0.05, "high": fraction + 0.05, **changes})
    run = summary(FT9, "vqa-rad", "test", [found], generation=generation)
    cell = next(c for c in compare_paper(LLAVA_MED, [run], accept=accept) if c.figure is figure)
    return cell.verdict, cell.why


@pytest.mark.parametrize(
    ("generation", "k", "accept", "verdict"),
    [
        ("unknown", 220, "auto", "reproduced"),
        ("unknown", 221, "auto", "deviates"),
        ("unknown", 221, "interval", "no difference shown"),
        ("greedy.max1024", 220, "auto", "reproduced"),
        ("greedy.max1024", 221, "auto", "no difference shown"),
        ("greedy.max1024", 221, "exact", "deviates"),
        ("sample.t0.7", 207, "auto", "no difference shown"),
        ("sample.t0.7", 206, "auto", "deviates"),
        ("sample.t0.7", 234, "auto", "deviates"),
        ("sample.t0.7", 233, "auto", "no difference shown"),
    ],
)
def test_answers_from_a_file_must_agree_and_new_ones_may_be_within_their_interval(
    generation: str, k: int, accept: str, verdict: str
) -> None:
    found, why = verdict_of(generation, k / 272, accept)
    assert found == verdict
    assert (why == "") == (k == 220)


def test_without_an_interval_nothing_is_within_it() -> None:
    assert verdict_of("greedy.max1024", 221 / 272, low=None, high=None)[0] == "deviates"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": "blank"}, "blank images"),
        ({"image": "shuffled"}, "shuffled images"),
        ({"limit": 100}, "first 100 samples"),
        ({"metrics": ()}, "has no llava-med closed_accuracy"),
        ({"n": 251}, "over 251 rows, published over 272"),
        ({"n_unscored": 3}, "3 of 272 rows are unscored"),
        ({"value": None}, "has no llava-med closed_accuracy"),
    ],
)
def test_a_run_over_something_else_is_not_comparable_and_says_why(changes: dict[str, Any], reason: str) -> None:
    figure = next(f for f in system(LLAVA_MED, FT9).figures if f.value == "80.88")
    of_metric = {k: changes.pop(k) for k in ("n", "n_unscored", "value") if k in changes}
    found = replace(metric(figure, 220 / 272), **of_metric)
    run = replace(summary(FT9, "vqa-rad", "test", [found]), **changes)
    cell = next(c for c in compare_paper(LLAVA_MED, [run]) if c.figure is figure)
    assert cell.verdict == "not comparable"
    assert reason in cell.why


def test_weights_tuned_on_one_set_are_not_the_row_on_another() -> None:
    models = PAPERS["llava-med-vqa"].models
    figures = system(LLAVA_MED, FT9).figures
    metrics = {t: [metric(f, f.fraction) for f in figures if f.task == t] for t in ("vqa-rad", "slake")}
    runs = [summary("llava-med-v1.0-vqa-rad", task, "test", metrics[task]) for task in metrics]
    met = [c for c in compare_paper(LLAVA_MED, runs, models) if c.run]
    assert {(c.system.id, c.figure.task) for c in met} == {(FT9, "vqa-rad")}


def test_a_model_that_only_shares_a_rows_name_is_not_that_row() -> None:
    paper = PAPERS["coloninst"]
    figure = system(paper.published, "llava-med-v1.0").figures[0]
    for model, generation, expected in (
        ("llava-med-v1.0", "greedy.max40", 0),
        ("llava-med-v1.0", "unknown", 1),
        ("llava-med-v1.0-coloninst", "greedy.max40", 1),
    ):
        run = summary(model, figure.task, figure.split, [metric(figure, figure.fraction)], generation=generation)
        assert sum(bool(c.run) for c in compare_paper(paper.published, [run], paper.models)) == expected
    needed = missing_runs(paper, [], registered=options("model"), protocols=options("protocol"), data={}, out="runs")
    assert {n.model for n in needed} == set(paper.models)


def judged(judge: str, values: dict[str, tuple[float, int]], models_returned: tuple[str, ...] = ()) -> JudgedFile:
    """Relative scores of a judge: slice -> value and number of rows."""
    metrics = tuple(
        replace(run_value(f"judge:{judge}", "relative_score", v, n), slice=s, low=v - 0.1, high=v + 0.1, signature=None)
        for s, (v, n) in values.items()
    )
    counts: dict[str, Any] = {"n": 193, "n_failed": 0, "n_no_answer": 0, "n_cannot_tell": 0}
    texts: dict[str, Any] = {"outcomes": {}, "verdicts": {}, "reasons": {}, "spread": {}, "settings": {"judge": judge}}
    return JudgedFile(judge=judge, judged="relative", plan="p", metrics=metrics, **counts, **texts)


def judged_run(folder: Path, *scores: JudgedFile) -> Path:
    """The folder of a judged run of the chat benchmark."""
    write_record(folder / "summary.json", summary("llava-med-v1.0", "llava-med-chat", "test", [], n=193))
    for file in scores:
        write_record(folder / f"judged-{file.judge}.json", file)
    return folder


def test_another_judge_is_shown_as_a_proxy_and_never_reproduces(tmp_path: Path) -> None:
    paper = PAPERS["llava-med-chat"]
    scores = judged("gpt-4.1-2025-04-14", {"all": (0.502, 193), "type=conversation": (0.551, 143)})
    judged_run(tmp_path / "a", scores)
    summaries = read_summaries([tmp_path])
    cells = compare_paper(paper.published, summaries, paper.models, proxy_metrics=paper.proxy_metrics)
    met = {c.figure.slice: c for c in cells if c.run}
    assert {c.verdict for c in met.values()} == {"not comparable"}
    assert met["all"].printed == met["all"].figure.value == "50.2"
    assert met["all"].proxy == "judge:gpt-4.1-2025-04-14 relative_score"
    assert met["domain=mri"].value is None


def test_the_published_judges_own_scores_are_compared(tmp_path: Path) -> None:
    paper = PAPERS["llava-med-chat"]
    for fraction, verdict in ((0.5024, "reproduced"), (0.51, "known not to be reproducible")):
        judged_run(tmp_path / "a", judged("gpt-4-0314", {"all": (fraction, 193)}))
        summaries = read_summaries([tmp_path])
        cells = compare_paper(paper.published, summaries, paper.models, proxy_metrics=paper.proxy_metrics)
        assert [c.verdict for c in cells if c.run and c.figure.slice == "all"] == [verdict]


@pytest.mark.parametrize(
    ("judged_n", "n", "proxy", "fraction"),
    [
        (200, 451, "medevalkit closed_accuracy + judge:gpt-4.1-2025-04-14 judged_accuracy", (200 + 100) / 451),
        (179, 451, "medevalkit accuracy", 0.6),
        (None, 451, "medevalkit accuracy", 0.6),
    ],
)
def test_lingshus_mix_of_rule_and_judge_is_joined_only_over_all_rows(
    judged_n: int | None, n: int, proxy: str, fraction: float
) -> None:
    paper = PAPERS["lingshu-medvqa"]
    metrics = [
        run_value("medevalkit", "closed_accuracy", 200 / 251, 251),
        run_value("medevalkit", "accuracy", 0.6, 451),
    ]
    if judged_n is not None:
        metrics.append(run_value("judge:gpt-4.1-2025-04-14", "judged_accuracy", 100 / judged_n, judged_n))
    run = summary("lingshu-7b", "vqa-rad", "test", metrics, n=n)
    cells = compare_paper(paper.published, [run], paper.models, proxy_metrics=paper.proxy_metrics)
    cell = next(c for c in cells if c.run)
    assert (cell.verdict, cell.proxy) == ("not comparable", proxy)
    assert cell.fraction == pytest.approx(fraction)
    assert cell.value is not None and (cell.value.n, cell.value.low) == (n, None)


@pytest.mark.parametrize(
    ("judge", "verdict", "why"),
    [
        ("lingshu.gpt-4.1-2025-04-14", "reproduced", ""),
        ("lingshu.qwen3-next-80b", "not comparable", "judged by qwen3-next-80b, published by gpt-4.1-2025-04-14"),
    ],
)
def test_a_judged_figure_is_reproduced_by_the_model_that_judged_it_alone(judge: str, verdict: str, why: str) -> None:
    figure = next(f for f in system(LINGSHU, "gpt-5").figures if f.task == "vqa-rad")
    parts = {"task": "vqa-rad.test", "protocol": "judge:lingshu", "judge": judge}
    signature = Signature.of("judged_accuracy", parts)
    value = replace(metric(figure, 306 / 451), signature=signature)
    cell = next(c for c in compare_paper(LINGSHU, [summary("gpt-5", "vqa-rad", "test", [value])]) if c.run)
    assert (cell.verdict, cell.why) == (verdict, why)


def test_extra_rows_have_only_values_that_are_comparable_with_a_column() -> None:
    figures = [f for f in system(LLAVA_MED, FT9).figures if f.task == "vqa-rad"]
    good = summary("mine", "vqa-rad", "test", [metric(f, 0.5) for f in figures])
    blank = summary("mine", "slake", "test", [metric(f, 0.5) for f in figures], image="blank")
    other = summary("mine", "pathvqa", "test", [metric(f, 0.5, n=3362) for f in figures])
    row = extra_rows(LLAVA_MED, [good, blank, other], ["mine", "nobody"])
    assert [len(r.cells) for r in row] == [2, 0]
    assert {c[0] for c in row[0].cells} == {"vqa-rad"}


@pytest.mark.parametrize("extra", [(), ("phantom-llava",)])
def test_a_figure_whose_split_is_not_stated_asks_for_no_run(extra: tuple[str, ...]) -> None:
    paper = PAPERS["medmo"]
    assert any(f.split == "not stated" for s in paper.published.systems for f in s.figures)
    about = {"registered": options("model"), "protocols": options("protocol"), "out": "runs"}
    needed = missing_runs(paper, [], data={}, extra_models=extra, **about)
    assert {n.split for n in needed} == {"test"} and {"vqa-rad", "omnimedvqa"} <= {n.task for n in needed}


def test_missing_runs_are_the_registered_models_of_the_paper_under_its_settings() -> None:
    paper = PAPERS["llava-med-vqa"]
    about: dict[str, Any] = {"registered": options("model"), "protocols": options("protocol"), "out": "my runs"}
    needed = missing_runs(paper, [], data={"slake": "/d/slake"}, **about)
    assert {(n.model, n.task) for n in needed} == {
        ("llava-med-v1.0", "vqa-rad"), ("llava-med-v1.0", "slake"), ("llava-med-v1.0", "pathvqa"),
        ("llava-med-v1.0-vqa-rad", "vqa-rad"), ("llava-med-v1.0-slake", "slake"),
        ("llava-med-v1.0-pathvqa", "pathvqa"),
    }  # fmt: skip
    slake = next(n for n in needed if n.model == "llava-med-v1.0-slake")
    assert slake.overrides == (
        "model=llava-med-v1.0-slake", "task=slake", "task.split=test", "out='my runs'", "protocol=[llava-med]",
        "task.path=/d/slake", "generation=paper", "task.prompt=options",
    )  # fmt: skip
    there = summary("llava-med-v1.0-slake", "slake", "test", [])
    assert slake not in missing_runs(paper, [there], data={"slake": "/d/slake"}, **about)
    assert slake in missing_runs(paper, [replace(there, image="blank")], data={"slake": "/d/slake"}, **about)
    mine = [
        n
        for n in missing_runs(paper, [], data={}, extra_models=["phantom-llava"], **about)
        if n.model == "phantom-llava"
    ]
    assert {n.task for n in mine} == {"vqa-rad", "slake", "pathvqa"}
    assert all("generation=paper" not in n.overrides and "task.prompt=options" in n.overrides for n in mine)
    with pytest.raises(ConfigError, match="own=phantom-lava is no model"):
        missing_runs(paper, [], data={}, extra_models=["phantom-lava"], **about)


@pytest.mark.parametrize("name", options("paper"))
def test_every_registered_paper_names_existing_rows_models_and_protocols(name: str) -> None:
    paper = PAPERS[name]
    assert set(paper.models) <= set(options("model"))
    known = {*options("protocol"), *(f"judge:{j}" for j in options("judge"))}
    for terms in paper.proxy_metrics.values():
        for term in terms:
            assert {part.split(" ")[0] for part in term.split(" + ")} <= known


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c.update(models={"m": "nobody"}), ConfigError, "row 'nobody' is not in the table"),
        (lambda c: c.update(models={"m": {"tasks": ["slake"]}}), ConfigError, "expected the id of a row"),
        (lambda c: c.update(models={"m": {"row": FT9, "tasks": ["phantom"]}}), ConfigError, "task 'phantom'"),
        (lambda c: c.update(models=["m"]), ConfigError, "models is"),
        (lambda c: c.update(setting={}), ConfigError, "'setting' is not a key"),
        (lambda c: c.update(settings={"slakes": []}), ConfigError, "'slakes' is not in the table"),
        (lambda c: c.update(settings={"slake": "x=1"}), ConfigError, "a list of texts"),
        (lambda c: c.update(beside={"lingshu": []}), ConfigError, "'lingshu' is not in the table"),
        (lambda c: c.update(published=None), ConfigError, "published must name a table"),
        (lambda c: c.update(published="llava-med"), ConfigError, "llava-med-vqa"),
        (lambda c: c.update(published={"paper": "Mine"}), DataError, "non-empty list"),
    ],
)
def test_an_invalid_paper_is_refused_by_name(change: Any, error: Any, message: str) -> None:
    content = copy.deepcopy(load_option("paper", "llava-med-vqa"))
    change(content)
    with pytest.raises(error, match=message):
        parse_paper(content, "mine")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("summary.json", "[]", "is not a summary of evalkit"),
        ("summary.json", '{"schema": 2, "run_id": "a"}', "key 'evalkit'"),
        ("summary.json", '{"schema": 1, "metrics": [{"metric": "f1"}]}', r"summary\.json, key"),
        ("judged-x.json", '{"schema": 2, "judge": "x"}', "key 'judged'"),
        ("judged-x.json", '{"schema": 1, "judge": "x", "metrics": {}}', "key 'metrics'"),
    ],
)
def test_files_that_are_no_runs_are_refused_by_name(tmp_path: Path, name: str, text: str, message: str) -> None:
    write_record(tmp_path / "a" / "summary.json", summary("m", "t", "s", []))
    (tmp_path / "a" / name).write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=message):
        read_summaries([tmp_path])


@pytest.mark.parametrize(
    ("half", "margin", "verdict"),
    [(0.01, 0.02, "equivalent"), (0.01, 0.01, "no difference shown"), (0.05, 0.02, "no difference shown"),
     (0.001, 0.02, "equivalent"), (0.001, None, "deviates"), (None, 0.02, "deviates")],
)  # fmt: skip
def test_a_value_is_equivalent_where_its_whole_interval_is_within_the_margin(
    half: float | None, margin: float | None, verdict: str
) -> None:
    """An interval that holds the published value shows no difference; that alone is no equivalence."""
    figure = next(f for f in system(LLAVA_MED, FT9).figures if f.value == "80.88")
    value = 222 / 272
    bounds = {"low": None, "high": None} if half is None else {"low": value - half, "high": value + half}
    run = summary(FT9, "vqa-rad", "test", [metric(figure, value, **bounds)], generation="greedy.max1024")
    cells = compare_paper(LLAVA_MED, [run], equivalence=margin)
    assert next(c for c in cells if c.figure is figure).verdict == verdict


def test_a_margin_of_equivalence_is_a_fraction() -> None:
    from evalkit.core.errors import ConfigError

    with pytest.raises(ConfigError, match="equivalence=2 is invalid"):
        compare_paper(LLAVA_MED, [], equivalence=2)
