"""Published figures: invariants of every table, and known facts about single tables."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from evalkit.cli.config import build, load_option, options
from evalkit.core.errors import DataError
from evalkit.published import (
    Figure,
    PublishedTable,
    System,
    candidates,
    load_published,
    parse_published,
    published_dir,
    published_names,
)

TABLES = {name: load_published(name) for name in published_names()}


# The tables that were there when the rules of the other tables were written.
COUNTED_TABLES = (
    "biomedgpt", "coloninst", "coloninst-ablations", "huatuogpt-vision", "hulu-med", "lingshu-medvqa", "llava-med-chat",
    "llava-med-reproductions", "llava-med-vqa", "m2i2", "med-palm-m", "medgemma", "medvlmbench", "medvlthinker",
    "multimedeval", "mumc", "stllava-med",
)  # fmt: skip


def figures(*names: str) -> Iterator[tuple[PublishedTable, System, Figure]]:
    for name in names or tuple(TABLES):
        for system in TABLES[name].systems:
            for figure in system.figures:
                yield TABLES[name], system, figure


def raw(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((published_dir() / f"{name}.json").read_text(encoding="utf-8"))
    return content


def test_every_expected_paper_is_present() -> None:
    needed = {
        "llava-med-vqa", "llava-med-chat", "coloninst", "lingshu-medvqa", "huatuogpt-vision", "medgemma", "biomedgpt",
        "m2i2", "mumc", "medvlthinker", "medvlmbench", "hulu-med", "med-palm-m", "multimedeval",
    }  # fmt: skip
    assert needed <= set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_each_figure_has_a_protocol_that_evalkit_or_the_table_defines(name: str) -> None:
    for table, system, figure in figures(name):
        place = (system.id, figure.task, figure.metric)
        assert figure.task in options("task"), place
        judges = {f"judge:{name}" for name in options("judge")}
        assert (figure.protocol in {*options("protocol"), *judges}) != (figure.protocol in table.foreign), place
        assert figure.slice == "all" or "=" in figure.slice, place


@pytest.mark.parametrize("name", TABLES)
def test_a_protocol_of_evalkits_has_the_metric(name: str) -> None:
    metrics: dict[str, set[str]] = {}
    for table, system, figure in figures(name):
        if figure.protocol in table.foreign:
            continue
        if figure.protocol.startswith("judge:"):
            assert figure.metric == "judged_accuracy", (system.id, figure.protocol, figure.metric)
            continue
        if figure.protocol not in metrics:
            config = load_option("protocol", figure.protocol)
            tasks = ("cls", "rec") if figure.protocol == "coloninst" else (None,)
            made = [build({**config, "task": t} if t else config, figure.protocol) for t in tasks]
            metrics[figure.protocol] = {m.name for protocol in made for m in protocol.metrics}
        assert figure.metric in metrics[figure.protocol], (system.id, figure.protocol, figure.metric)


def test_946_of_1018_figures_are_computable_and_the_others_say_why_not() -> None:
    known = {*options("protocol"), *(f"judge:{name}" for name in options("judge"))}
    found = {True: 0, False: 0}
    for table, _, figure in figures(*COUNTED_TABLES):
        found[figure.protocol in known] += 1
        assert figure.protocol in known or len(table.foreign[figure.protocol]) > 40
    assert found == {True: 946, False: 72}


def test_of_the_later_tables_689_figures_are_computable_and_the_others_say_why_not() -> None:
    known = {*options("protocol"), *(f"judge:{name}" for name in options("judge"))}
    found = {True: 0, False: 0}
    for table, _, figure in figures(*(set(TABLES) - set(COUNTED_TABLES))):
        found[figure.protocol in known] += 1
        assert figure.protocol in known or len(table.foreign[figure.protocol]) > 40
        assert "read on 2026" in table.sources[figure.source].read
    assert found == {True: 689, False: 83}


def test_a_row_in_two_tables_of_a_paper_has_one_model() -> None:
    for name, other in (("lingshu-medvqa", "lingshu-choice"), ("hulu-med", "hulu-med-choice")):
        models = {s.id: (s.label, s.model) for s in TABLES[name].systems}
        assert all((s.label, s.model) == models[s.id] for s in TABLES[other].systems)
        assert not {(f.task, f.metric) for _, _, f in figures(name)} & {
            (f.task, f.metric) for _, _, f in figures(other)
        }


def test_a_table_that_names_its_judges_model_has_figures_of_that_judge() -> None:
    content = raw("lingshu-medvqa")
    assert set(content["judges"].values()) == {"gpt-4.1-2025-04-14"}
    content["judges"]["judge:medmo"] = "gpt-5-mini"
    with pytest.raises(DataError, match="the judge 'judge:medmo' is not used by any figure"):
        parse_published(content, "table.json", "lingshu-medvqa")


def test_a_count_is_given_exactly_if_value_and_rows_determine_it() -> None:
    counted = 0
    for table, system, figure in figures():
        share = figure.metric.endswith("accuracy") and figure.unit == "percent" and figure.replicates == 1
        if figure.n is None or not share:
            assert figure.k is None, (table.name, system.id)
            continue
        possible = candidates(figure.value, figure.n)
        assert figure.k == (possible[0] if len(possible) == 1 else None), (table.name, system.id, figure.value)
        counted += figure.k is not None
    assert counted > 150


def test_the_unattainable_values_are_the_known_ones() -> None:
    odd = {(t.name, s.id, f.value, f.n) for t, s, f in figures() if not f.attainable}
    assert odd == {
        ("llava-med-vqa", "llava-med-vicuna", "81.98", 272),
        ("lingshu-medvqa", "lingshu-7b", "67.9", 451),
        ("m2i2", "m2i2", "76.8", 451),
        ("huatuogpt-vision", "llava-v1.5-llama3-8b-pubmedvision", "63.8", 251),
    }


@pytest.mark.parametrize(("name", "replicates", "n"), [("medvlthinker", 3, 75), ("medvlmbench", 1000, 54)])
def test_means_of_runs_are_counts_out_of_as_many_times_the_rows(name: str, replicates: int, n: int) -> None:
    means = [f for _, _, f in figures(name)]
    assert len(means) == n
    assert all(f.replicates == replicates and f.attainable and f.k is None for f in means)
    assert sum(not candidates(f.value, f.n or 0) for f in means) > 15


def test_an_average_is_the_mean_of_its_row_and_a_typo_is_detected() -> None:
    averaged = [s for t in TABLES.values() for s in t.systems if s.average]
    assert len(averaged) == 36
    content = raw("llava-med-vqa")
    row = next(s for s in content["systems"] if s["id"] == "llava-med-60k-im-ft9")
    row["figures"][0]["value"] = "62.66"
    with pytest.raises(DataError, match=r"llava-med-60k-im-ft9: the printed average is 73\.90"):
        parse_published(content, "table.json", "llava-med-vqa")


@pytest.mark.parametrize("name", ["m2i2", "mumc", "biomedgpt"])
def test_an_overall_accuracy_lies_between_closed_and_open(name: str) -> None:
    groups: dict[tuple[str, str, str], dict[str, Figure]] = {}
    for _, system, figure in figures(name):
        groups.setdefault((system.id, figure.task, figure.slice), {})[figure.metric] = figure
    checked = 0
    for place, cells in groups.items():
        if len(cells) < 3:
            continue
        closed, opened, overall = (cells[m].fraction for m in ("closed_accuracy", "open_accuracy", "accuracy"))
        impossible = "overall-impossible" in cells["accuracy"].faults
        assert (min(closed, opened) < overall < max(closed, opened)) != impossible, place
        checked += 1
    assert checked >= 6 or name == "mumc"


def test_llava_meds_fine_tuned_radiology_rows_say_that_the_test_set_was_reworded_in_their_training() -> None:
    table = TABLES["llava-med-vqa"]
    tuned = [
        (s, f)
        for _, s, f in figures("llava-med-vqa")
        if f.task == "vqa-rad" and f.protocol == "llava-med" and f.regime == "fine-tuned"
    ]
    assert len(tuned) == 80
    for system, figure in tuned:
        reworded = figure.train == "rad-3064"
        assert reworded == ("rewordings-in-train" in figure.faults)
        assert reworded != system.id.endswith("-1797")
        assert figure.epochs is not None
        if reworded:
            assert any("284 of the 451" in fault for fault in table.faults_of(system, figure))


def test_cells_contradicted_by_the_authors_own_outputs_state_those_values() -> None:
    table = TABLES["llava-med-vqa"]
    reasons = {(s.id, f.value): table.why_not(s, f) for _, s, f in figures("llava-med-vqa") if table.why_not(s, f)}
    assert {key: why.split()[-1] for key, why in reasons.items() if key[0] == "llava-med-vicuna"} == {
        ("llava-med-vicuna", "84.71"): "84.83",
        ("llava-med-vicuna", "83.17"): "83.65",
        ("llava-med-vicuna", "38.87"): "37.76",
    }
    assert "61.527" in reasons[("llava-med-60k-im-ft15", "61.52")]


def test_recall_and_accuracy_are_separate_metrics() -> None:
    for _, system, figure in figures("llava-med-vqa"):
        quoted = figure.protocol == "vqa-official"
        assert quoted == ("quoted" in system.table), system.id
        assert (figure.metric == "open_accuracy") <= quoted


def test_a_model_has_a_row_in_each_paper_that_scored_it_under_another_protocol() -> None:
    found = {
        (t.name, f.protocol, f.value)
        for t, s, f in figures()
        if s.id == "llava-med" and f.task == "vqa-rad" and "accuracy" in f.metric
    }
    assert {(name, value) for name, _, value in found} >= {
        ("lingshu-medvqa", "53.7"), ("hulu-med", "46.6"), ("huatuogpt-vision", "51.4"), ("medvlthinker", "56.74"),
        ("medvlmbench", "69.8"),
    }  # fmt: skip
    assert len({protocol for _, protocol, _ in found}) >= 5


def test_datasets_that_a_model_was_trained_on_are_never_marked_zero_shot() -> None:
    for table, system, figure in figures():
        if system.model.startswith(("Lingshu", "MedGemma", "Hulu")) and figure.task in ("vqa-rad", "slake"):
            assert figure.regime == "fine-tuned", (table.name, system.id)


def test_the_chat_table_has_every_type_and_domain_and_a_judge_that_is_no_longer_offered() -> None:
    for table, system, _ in figures("llava-med-chat"):
        slices = {f.slice: f.n for f in system.figures}
        assert slices == {
            "type=conversation": 143, "type=detailed_description": 50, "domain=chest_xray": 37, "domain=mri": 38,
            "domain=histology": 44, "domain=gross": 34, "domain=ct_scan": 40, "all": 193,
        }  # fmt: skip
        assert all("no longer offered" in table.why_not(system, f) for f in system.figures)
        overall = next(f.fraction for f in system.figures if f.slice == "all")
        fits = []
        for kind in ("type=", "domain="):
            parts = [(f.fraction, f.n or 0) for f in system.figures if f.slice.startswith(kind)]
            fits.append(abs(sum(v * n for v, n in parts) / 193 - overall) <= 0.001)
        assert all(fits) != any("parts-differ" in f.faults for f in system.figures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["figures"][0].update(epochs=0), "0 epochs"),
        (lambda s: s["figures"][0].pop("train"), "requires a train split"),
        (lambda s: s["figures"][0].update(train="all"), "train 'all'"),
        (lambda s: s["figures"][0].update(faults=["none"]), "fault 'none'"),
        (lambda s: s["figures"][0].update(low="50.0"), "not an interval"),
        (lambda s: s["figures"][0].update(low="90.0", high="91.0"), "not an interval around"),
        (lambda s: s["figures"][0].update(unit="points"), "unit 'points'"),
        (lambda s: s["figures"][0].update(replicates=0), "replicates 0, expected at least 1"),
        (lambda s: s.update(average="seventy"), "'seventy' is not a printed number"),
    ],
)
def test_the_schema_refuses_invalid_figures(change: Any, message: str) -> None:
    content = copy.deepcopy(raw("llava-med-vqa"))
    change(next(s for s in content["systems"] if s["id"] == "llava-med-60k-im-ft9"))
    with pytest.raises(DataError, match=message):
        parse_published(content, "table.json", "llava-med-vqa")


def test_a_declared_fault_that_no_figure_uses_is_refused() -> None:
    content = raw("medgemma")
    content["faults"] = {"idle": "nobody has it"}
    with pytest.raises(DataError, match="fault 'idle' is not used by any figure"):
        parse_published(content, "table.json", "medgemma")


# Rows of ColonEval's tasks, as its evaluator expects them; 13 is no part of it.
COLONEVAL_ROWS = {
    1: 50, 2: 50, 3: 50, 4: 50, 5: 50, 6: 71, 7: 50, 8: 50, 9: 1258, 10: 629, 11: 629, 12: 707, 14: 50, 15: 410,
    16: 414, 17: 50,
}  # fmt: skip


def test_colonevals_figures_over_all_rows_are_the_weighted_means_of_its_tasks() -> None:
    assert sum(COLONEVAL_ROWS.values()) == load_option("task", "coloneval")["counts"]["test"]
    for system in TABLES["coloneval"].systems:
        by_slice = {figure.slice: figure.fraction for figure in system.figures}
        mean = sum(by_slice[f"file=Task{k}"] * n for k, n in COLONEVAL_ROWS.items()) / sum(COLONEVAL_ROWS.values())
        assert abs(mean - by_slice["all"]) < 0.000101 and len(by_slice) == 17, system.id


def test_colonperts_figures_are_pairs_over_the_same_rows() -> None:
    for system in TABLES["colonpert"].systems:
        rows = {(f.slice, f.split): f.n for f in system.figures}
        slices = {name for name, _ in rows}
        assert len(slices) == 4 and {split for _, split in rows} == {"original", "perturbed"}
        assert all(rows[name, "original"] == rows[name, "perturbed"] for name in slices)
        assert sum(rows[name, "original"] or 0 for name in slices) == 257
    assert set(load_option("task", "colonpert")["counts"].values()) == {257}
