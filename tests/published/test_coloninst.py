"""The published table as data, its schema, and the comparison with runs."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import load_option, options
from evalkit.core.errors import ConfigError, DataError
from evalkit.published import candidates, load_published, parse_published, printed, published_dir
from evalkit.reports.reproduction import compare_paper, markdown, read_summaries, show
from evalkit.runs.schema import Summary
from evalkit.runs.store import write_record
from tests.support.paper_inputs import run_value, summary

TABLE = load_published("coloninst")
# LLaVA-Med on the results page: (row, task, split) -> percent.
LLAVA_MED = {
    ("llava-med-v1.0-ext", "cls", "seen"): "93.84",
    ("llava-med-v1.0-ext", "cls", "unseen"): "77.38",
    ("llava-med-v1.0-ext", "reg", "seen"): "97.35",
    ("llava-med-v1.0-ext", "reg", "unseen"): "75.25",
    ("llava-med-v1.0", "cls", "seen"): "93.52",
    ("llava-med-v1.0", "cls", "unseen"): "78.04",
    ("llava-med-v1.0", "reg", "seen"): "97.74",
    ("llava-med-v1.0", "reg", "unseen"): "75.07",
    ("llava-med-v1.5-lora", "cls", "seen"): "93.62",
    ("llava-med-v1.5-lora", "cls", "unseen"): "79.24",
    ("llava-med-v1.5-lora", "reg", "seen"): "99.30",
    ("llava-med-v1.5-lora", "reg", "unseen"): "73.05",
    ("llava-med-v1.5-lora-ext", "cls", "seen"): "87.22",
    ("llava-med-v1.5-lora-ext", "cls", "unseen"): "66.51",
    ("llava-med-v1.5-lora-ext", "reg", "seen"): "90.40",
    ("llava-med-v1.5-lora-ext", "reg", "unseen"): "70.00",
}
FLAGS = {
    "llava-med-v1.0": (False, False),
    "llava-med-v1.0-ext": (False, True),
    "llava-med-v1.5-lora": (True, False),
    "llava-med-v1.5-lora-ext": (True, True),
}


def raw() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((published_dir() / "coloninst.json").read_text(encoding="utf-8"))
    return content


def run(model: str, task: str, split: str, metric: str, fraction: float | None, n: int, **changes: Any) -> Summary:
    found = run_value("coloninst", metric, fraction, n)
    found = replace(found, n_unscored=changes.pop("n_unscored", 0))
    return summary(model, task, split, [found], **changes)


def test_every_llava_med_figure_of_the_results_page_is_present() -> None:
    found = {
        (system.id, figure.task.removeprefix("coloninst-"), figure.split): figure.value
        for system in TABLE.systems
        if system.model.startswith("LLaVA-Med")
        for figure in system.figures
        if figure.metric == "accuracy"
    }
    assert found == LLAVA_MED
    assert {s.id: (s.lora, s.extra_data) for s in TABLE.systems if s.id in FLAGS} == FLAGS


def test_the_table_has_seventeen_systems_of_six_columns() -> None:
    assert len(TABLE.systems) == 17
    for system in TABLE.systems:
        cells = [(f.task.removeprefix("coloninst-"), f.split) for f in system.figures]
        assert cells == [(t, s) for t in ("cls", "reg", "rec") for s in ("seen", "unseen")]
        assert all((f.regime == "trained-on-this-split") == (f.split == "seen") for f in system.figures)


def test_each_seen_accuracy_has_the_only_count_that_prints_as_it() -> None:
    counted = [f for s in TABLE.systems for f in s.figures if f.k is not None]
    assert len(counted) == 34
    for figure in counted:
        assert figure.n is not None
        assert list(candidates(figure.value, figure.n)) == [figure.k]
        assert printed(figure.k / figure.n, 2) == figure.value
    unseen = [f for s in TABLE.systems for f in s.figures if f.split == "unseen" and f.metric == "accuracy"]
    assert {len(candidates(f.value, f.n or 0)) for f in unseen} <= {3, 4, 5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(schema=2), "schema 1"),
        (lambda t: t.pop("paper"), "is incomplete"),
        (lambda t: t.update(colour="red"), "unknown key 'colour'"),
        (lambda t: t.update(systems=[]), "non-empty list"),
        (lambda t: t["systems"].append(t["systems"][0]), "occurs twice"),
        (lambda t: t["systems"][0]["figures"].append(t["systems"][0]["figures"][0]), "occurs twice"),
        (lambda t: t["systems"][0].update(lora="y"), "lora is 'y'"),
        (lambda t: t["systems"][0]["figures"][0].update(value=91.49), "value is 91.49"),
        (lambda t: t["systems"][0]["figures"][0].update(value="101.00"), "not a percentage"),
        (lambda t: t["systems"][0]["figures"][0].update(value="NaN"), "not a percentage"),
        (lambda t: t["systems"][0]["figures"][0].update(value="high"), "'high' is not a printed number"),
        (lambda t: t["systems"][0]["figures"][0].update(k=8170), "8170 correct of 8929 is not 91.49"),
        (lambda t: t["systems"][0]["figures"][0].update(k=True), "k is True"),
        (lambda t: t["systems"][0]["figures"][0].update(source="hearsay"), "source 'hearsay' is not known"),
        (lambda t: t["systems"][0]["figures"][0].update(regime="tuned"), "regime 'tuned'"),
        (lambda t: t["systems"].__setitem__(0, 3), "expected an object"),
    ],
)
def test_the_schema_refuses_invalid_content_and_names_it(change: Any, message: str) -> None:
    content = copy.deepcopy(raw())
    change(content)
    with pytest.raises(DataError, match=message):
        parse_published(content, "table.json", "coloninst")


def test_an_unknown_table_is_named_with_its_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"'colon'.*coloninst"):
        load_published("colon")


def perfect() -> list[Summary]:
    """A run for every figure that prints as it."""
    runs = []
    for system in TABLE.systems:
        for figure in system.figures:
            n = figure.n or 0
            value = figure.k / n if figure.k is not None else float(figure.value) / 100
            runs.append(run(system.id, figure.task, figure.split, figure.metric, value, n))
    return runs


def test_runs_with_the_published_counts_reproduce_every_cell() -> None:
    cells = compare_paper(TABLE, perfect())
    assert [c.verdict for c in cells] == ["reproduced"] * 102
    assert all(c.printed == c.figure.value for c in cells)


def test_without_runs_every_cell_is_not_run() -> None:
    cells = compare_paper(TABLE, [])
    assert {c.verdict for c in cells} == {"not run"}
    assert "102 not run" in markdown(TABLE, cells)


@pytest.mark.parametrize(
    ("value", "changes", "verdict"),
    [
        (8379 / 8929, {}, "reproduced"),
        (8380 / 8929, {}, "deviates"),
        (8378 / 8929, {}, "deviates"),
        (8379 / 8929, {"n": 8928}, "not comparable"),
        (8379 / 8929, {"n_unscored": 1}, "not comparable"),
        (8379 / 8929, {"image": "blank"}, "not comparable"),
        (None, {}, "not comparable"),
        (8379 / 8929, {"split": "unseen"}, None),
    ],
)
def test_one_answer_more_or_less_deviates(value: float | None, changes: dict[str, Any], verdict: str | None) -> None:
    n = changes.pop("n", 8929)
    one = run("mine", "coloninst-cls", changes.pop("split", "seen"), "accuracy", value, n, **changes)
    cells = compare_paper(TABLE, [one], {"mine": "llava-med-v1.0-ext"})
    about = [c for c in cells if c.run and c.figure.split == "seen"]
    assert [c.verdict for c in about] == ([verdict] if verdict else [])
    if verdict not in (None, "reproduced"):
        assert about[0].why
        assert about[0].why in show(TABLE, cells)


def test_an_unseen_cell_reproduces_when_it_prints_the_same() -> None:
    for value, verdict in ((0.773801, "reproduced"), (0.77386, "deviates"), (0.773749, "deviates")):
        cells = compare_paper(TABLE, [run("llava-med-v1.0-ext", "coloninst-cls", "unseen", "accuracy", value, 45284)])
        assert [c.verdict for c in cells if c.run] == [verdict]


def test_the_models_of_the_config_tree_name_published_rows() -> None:
    models = load_option("paper", "coloninst")["models"]
    assert set(models.values()) == set(FLAGS)
    assert set(models) <= set(options("model"))


def test_two_runs_of_a_model_are_two_cells_and_a_run_is_read_once(tmp_path: Path) -> None:
    for name, fraction in (("a", 8379 / 8929), ("b", 0.5)):
        one = run("llava-med-v1.0-ext", "coloninst-cls", "seen", "accuracy", fraction, 8929, run_id=name)
        write_record(tmp_path / name / "summary.json", one)
    runs = read_summaries([tmp_path, tmp_path])
    assert [r.run_id for r in runs] == ["a", "b"]
    verdicts = {c.run: c.verdict for c in compare_paper(TABLE, runs) if c.run}
    assert verdicts == {"a": "reproduced", "b": "deviates"}


def test_the_tables_say_which_columns_were_trained_on() -> None:
    cells = compare_paper(TABLE, perfect())
    assert "seen (trained on)" in markdown(TABLE, cells)
    assert "cls seen*" in show(TABLE, cells)
    assert "accuracy on training data" in show(TABLE, cells)
