"""Gold answers that a normaliser empties are refused; closed rows that a protocol does not count are named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from evalkit.core.errors import DataError
from evalkit.scoring.golds import check_golds, letter_golds, small_classes, uncounted_rows
from evalkit.tasks.prompts import options_note, render
from tests.support.paths import SHARED
from tests.support.protocols import needs_answers, protocol, row, value


@pytest.mark.parametrize("gold", ["A", "the", "a.", ".", "(A)"])
@pytest.mark.parametrize("name", ["llava-med", "strict", "nocandi", "helm", "vqa-official"])
def test_a_gold_answer_that_normalises_to_nothing_is_refused(name, gold):
    with pytest.raises(DataError, match="normalise to nothing under"):
        check_golds([row("lung"), replace(row(gold), id="2")], [protocol(name)], "toy (test)")


def test_a_gold_answer_with_a_word_is_accepted_and_blank_references_are_ignored():
    check_golds([row(("lung", " "))], [protocol("llava-med"), protocol("strict"), protocol("lmms-eval")], "toy (test)")


@pytest.mark.parametrize(("gold", "answer", "expected"), [("Yes", "A", 1), ("NO", "B", 1), ("no", "A", 0)])
def test_huatuogpt_vision_compares_gold_and_options_without_case(gold, answer, expected):
    found = value("huatuogpt-vision", "closed_accuracy", gold, answer, "CLOSED", choices=("yes", "no"))
    assert found == expected


def test_closed_rows_that_are_not_counted_are_named_with_their_number():
    rows = [row("Liver", "CLOSED", choices=("kidney", "spleen")), replace(row("yes", "CLOSED"), id="2")]
    rows.append(replace(row("Yes", "CLOSED", choices=("yes", "no")), id="3"))
    (note,) = uncounted_rows(rows, [protocol("huatuogpt-vision"), protocol("strict")])
    assert "does not count 2 of 3 closed rows" in note
    assert "none of its options: 1" in note and "it offers no options: 2" in note


def test_golds_of_one_letter_that_are_found_inside_of_words_are_named():
    rows = [row("B", "CLOSED"), replace(row("liver", "CLOSED"), id="2"), replace(row("C", "CLOSED"), id="3")]
    (note,) = letter_golds(rows, [protocol("llava-med"), protocol("strict"), protocol("exact-match")])
    assert note.startswith("llava-med finds 2 gold answers of one letter inside of words") and ": 1, 3." in note


def test_letters_are_listed_in_the_order_of_the_choices():
    assert render("letters", "Is it?", ("yes", "no")).splitlines()[:3] == ["Is it?", "A. yes", "B. no"]
    assert render("letters", "What is it?", ()) == "What is it?"
    assert "1 of 2 questions" in options_note("letters", [("yes", "no"), ()])[0]
    assert options_note("short", [("yes", "no")]) == []


class TestHelm:
    pytestmark = needs_answers

    def test_helm_gives_one_figure_for_both_copies_of_vqa_rad(self):
        facts = json.loads((SHARED / "data/vqa-rad/hf/test_hf_order_with_osf_qid.json").read_text(encoding="utf-8"))
        lower = {"settings": {"golds": "lower-case"}}
        for fact in facts:
            for metric in ("exact_match", "quasi_exact_match", "f1"):
                hub = value("helm", metric, fact["answer"], fact["answer"])
                assert hub == value("helm", metric, str(fact["answer_osf"]), fact["answer"], **lower) > 0


def test_a_mean_over_classes_names_those_of_fewer_than_five_rows():
    golds = ["polyp"] * 5 + ["Adenoma"] * 3 + ["adenoma"] + ["ulcer"] * 4
    rows = [replace(row(gold), id=str(k)) for k, gold in enumerate(golds)]
    (note,) = small_classes(rows, [protocol("coloninst", task="cls")])
    assert note.startswith("macro_accuracy, macro_f1: 2 of 3 classes have fewer than 5 rows (adenoma: 4, ulcer: 4)")
    assert small_classes(rows, [protocol("strict")]) == []
    assert small_classes(rows[:5], [protocol("coloninst", task="cls")]) == []
