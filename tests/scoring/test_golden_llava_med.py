"""The LLaVA-Med scoring rules on the cases where they go wrong, degenerate cases first."""

import pytest

from evalkit.core.errors import ConfigError
from evalkit.core.types import Prediction
from tests.support.protocols import protocol, row, scores, value

# gold, answer, llava-med (substring), run-eval (yes or no needed), 2023 (misses dropped; None = not counted)
CLOSED = [
    ("yes", "", 0, 0, 0),
    ("a", "", 1, 0, 0),  # a gold that is only an article is contained in anything
    ("a", "no", 1, 1, 1),
    ("no", "Normal", 1, 1, 1),
    ("no", "abnormal", 1, 1, 1),
    ("yes", "abnormal", 0, 0, None),
    ("yes", "Yes, it is abnormal", 1, 1, 1),
    ("left", "left", 1, 0, 0),
    ("left", "It is on the left, no doubt", 1, 1, 1),
    ("right", "no, left", 0, 0, None),
    ("yes", "yes yes yes", 1, 1, 1),
    ("2", "two", 1, 0, 0),
    ("none", "0", 1, 0, 0),
    ("yes", "ＹＥＳ", 0, 0, 0),  # full-width letters stay what they are
    ("yes", "eyes", 1, 1, 1),
    ("no", "I cannot determine this.", 1, 1, 1),
    ("no", "Unknown", 1, 1, 1),
    ("yes", "Yes, the diagnosis is pneumonia.", 1, 1, 1),
    ("yes", "There is a fracture.", 0, 0, 0),
    ("yes", "No, not yes.", 1, 1, 1),
    ("no", "Yes and no.", 1, 1, 1),
    ("t2", "The image is a T2-weighted MRI.", 1, 0, 0),
    ("left", "Left lung", 1, 0, 0),
]


@pytest.mark.parametrize(("gold", "answer", "substring", "with_yes_no", "dropped"), CLOSED)
def test_a_closed_answer_is_scored_as_by_each_script(gold, answer, substring, with_yes_no, dropped):
    found = [value(name, "closed_accuracy", gold, answer, "CLOSED") for name in FAMILY]
    assert found == [substring, with_yes_no, dropped]


FAMILY = ("llava-med", "llava-med-run-eval", "llava-med-2023")

# gold, answer, precision, recall, F1, the script's "exact match"
OPEN = [
    ("left lower lobe", "", 0, 0, 0, 0),
    ("a", "a", 0, 0, 0, 0),
    ("left lower lobe", "left", 1, 1 / 3, 1 / 2, 1),
    ("left lower lobe", "left left left left", 1, 2 / 3, 4 / 5, 1 / 4),
    ("left lung", "left left left", 1, 3 / 4, 6 / 7, 1 / 3),
    ("left lower lobe", "right upper lobe, not left lower lobe", 4 / 7, 1, 8 / 11, 3 / 7),
    ("left lower lobe", "Left lower lobe.", 1, 1, 1, 1),
    ("lung, spinal cord", "Spinal cord, lung", 1, 1, 1, 1),
    ("mri", "magnetic resonance imaging", 0, 0, 0, 0),
    ("none", "0", 1, 1, 1, 1),
    ("x-ray", "X ray", 1, 1, 1, 1),
    ("2", "two", 1, 1, 1, 1),
    ("ct", "The image is a CT scan.", 1 / 4, 1, 2 / 5, 1 / 4),
    ("lung lung heart", "heart", 1, 1 / 3, 1 / 2, 1),
]


@pytest.mark.parametrize(("gold", "answer", "precision", "recall", "f1", "exact"), OPEN)
def test_an_open_answer_gets_token_overlap_with_repetition(gold, answer, precision, recall, f1, exact):
    found = scores("llava-med", gold, answer)
    names = ("open_precision", "open_recall", "open_f1", "open_exact")
    assert [found[name].value for name in names] == pytest.approx([precision, recall, f1, exact], abs=1e-12)


def test_an_error_is_unscored_with_its_text_in_every_metric_of_the_row():
    for name in FAMILY:
        for answer_type in ("OPEN", "CLOSED"):
            found = protocol(name).score(row("yes", answer_type), Prediction(sample_id="1", error="out of memory"))
            assert found
            assert {(s.value, s.reason) for s in found} == {(None, "error: out of memory")}


def test_a_row_with_another_label_is_in_no_metric():
    assert scores("llava-med", "yes", "yes", answer_type=None) == {}
    assert scores("llava-med", "yes", "yes", answer_type="other") == {}


def test_the_rows_of_a_type_get_exactly_the_metrics_of_that_type():
    assert set(scores("llava-med", "yes", "yes", "CLOSED")) == {"closed_accuracy", "closed_recall"}
    assert set(scores("llava-med-run-eval", "yes", "yes", "CLOSED")) == {"closed_accuracy"}
    assert "closed_accuracy" not in scores("llava-med", "yes", "yes", "OPEN")


def test_an_answer_that_the_2023_script_dropped_has_a_reason():
    dropped = scores("llava-med-2023", "yes", "no", "CLOSED")["closed_accuracy"]
    assert dropped.value is None
    assert "denominator" in dropped.reason


def test_role_prefixes_lower_precision_unless_they_are_stripped():
    kept = scores("llava-med", "left lung", "Assistant: left lung")
    stripped = scores("llava-med", "left lung", "Assistant: left lung", settings={"strip_role": True})
    assert kept["open_recall"].value == stripped["open_recall"].value == 1
    assert kept["open_precision"].value == pytest.approx(2 / 3)
    assert stripped["open_precision"].value == 1
    assert protocol("llava-med").settings() != protocol("llava-med", strip_role=True).settings()


def test_each_metric_takes_the_best_of_several_references():
    assert value("llava-med", "open_recall", ("heart", "left lung"), "lung") == 0.5
    assert value("llava-med", "closed_accuracy", ("yes", "no"), "no", "CLOSED") == 1


def test_the_second_normalisation_shows_beyond_32_full_stops():
    gold, answer = "lung", "lung" + "." * 40
    found = scores("llava-med", gold, answer)
    assert found["open_recall"].value == 1  # twice cleaned: the last 8 full stops go the second time
    assert found["bleu_1"].value == 0  # BLEU sees the text cleaned once


def test_an_unknown_match_rule_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="misses-dropped"):
        protocol("llava-med", match="substrin")
