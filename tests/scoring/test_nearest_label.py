"""Nearest labels: MedVInT's, open and closed apart, and the answer list of M2I2 and MUMC, one for all rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.core.types import Prediction, Sample
from evalkit.scoring.golds import with_rows
from evalkit.scoring.text.nearest import nearest
from tests.support.protocols import protocol, row, scores


def rows() -> list[Sample]:
    facts = [("left lung", "OPEN"), ("right lung", "OPEN"), ("liver", "OPEN"), ("yes", "CLOSED"), ("no", "CLOSED")]
    return [replace(row(gold, kind), id=str(k)) for k, (gold, kind) in enumerate(facts)]


# answer, then the label that is taken for an open row and for a closed one
ANSWERS = [
    ("", "", ""),
    ("???", "", ""),
    ("left lung", "left lung", "no"),
    ("The left lungs.", "left lung", "yes"),
    ("lung", "left lung", "no"),  # both lungs are as alike up to their lengths: the shorter label has the higher ratio
    ("right", "right lung", ""),
    ("LIVER", "", ""),  # letter case is kept
    ("yes, the liver", "liver", "yes"),
    ("know", "left lung", "no"),
]


@pytest.mark.parametrize(("answer", "open_label", "closed_label"), ANSWERS)
def test_an_answer_counts_as_the_label_that_is_most_alike(answer: str, open_label: str, closed_label: str) -> None:
    (rule,) = with_rows(rows(), [protocol("pmc-vqa")])
    for sample, label in ((rows()[0], open_label), (rows()[3], closed_label)):
        for score in rule.score(sample, Prediction(sample_id=sample.id, text=answer)):
            assert score.extracted == label, score.metric
            assert score.value == (bool(label) and label == sample.references[0])


def test_the_first_of_equally_alike_labels_is_taken_and_none_where_nothing_is_alike() -> None:
    assert nearest(["ab", "ba"], "ab ba") == 0
    assert nearest(["ba", "ab"], "ab ba") == 0
    assert nearest(["x"], "y") is None and nearest([], "y") is None


def test_other_rows_are_another_protocol_by_its_signature() -> None:
    plain = protocol("pmc-vqa")
    whole, part = (with_rows(some, [plain])[0] for some in (rows(), rows()[:2]))
    assert plain.settings()["labels"] == "unknown"
    assert whole.settings()["labels"].startswith("5@") and part.settings()["labels"].startswith("2@")
    assert plain.settings()["labels"] == "unknown", "the protocol that was given is as it was"


def test_without_the_rows_an_answer_is_unscored_with_the_reason() -> None:
    found = scores("pmc-vqa", "left lung", "left lung")
    assert {(score.value, bool(score.reason)) for score in found.values()} == {(None, True)}


# answer, then the answer of the list that is taken, which is the same for open and closed rows
LISTED = [
    ("", ""), ("???", ""), ("The Left Lung.", "left lung"), ("It is the left lung, mostly", "left lung"),
    ("LIVER", "liver"), ("the liver shows a mass", "liver"), ("yes.", "yes"), ("No", "no"),
    ("left\tlung\n", "left lung"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "taken"), LISTED)
def test_of_an_answer_list_the_most_alike_after_cleaning_is_taken(answer: str, taken: str) -> None:
    (rule,) = with_rows(rows(), [protocol("vqa-official-list")])
    for sample in rows():
        for score in rule.score(sample, Prediction(sample_id=sample.id, text=answer)):
            assert (score.extracted, score.value) == (taken, float(bool(taken) and taken == sample.references[0]))


def test_a_list_leaves_an_answer_that_is_in_it_as_vqa_official_reads_it() -> None:
    (rule,) = with_rows(rows(), [protocol("vqa-official-list")])
    plain = protocol("vqa-official")
    assert rule.settings()["labels"].startswith("5@") and rule.by_name
    for said in rows():
        for sample in rows():
            given = Prediction(sample_id=sample.id, text=f" {said.references[0].upper()}. ")
            values = [[s.value for s in p.score(sample, given)] for p in (rule, plain)]
            assert values[0] == values[1]
    found = scores("vqa-official-list", "left lung", "left lung")
    assert {(score.value, bool(score.reason)) for score in found.values()} == {(None, True)}


def test_other_protocols_are_handed_on_as_they_are() -> None:
    given = [protocol("strict"), protocol("llava-med")]
    assert with_rows(rows(), given) == given


@pytest.mark.slow
def test_a_scored_run_has_the_rule_with_its_list(tmp_path: Path) -> None:
    from tests.support.command_line import SCRIPTED, folder_of
    from tests.support.command_line import in_this_process as evalkit

    result = evalkit(*SCRIPTED, "protocol=pmc-vqa", "limit=40", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    summary = (folder_of(result, tmp_path) / "summary.json").read_text(encoding="utf-8")
    assert "labels:unknown" not in summary and "|labels:" in summary
