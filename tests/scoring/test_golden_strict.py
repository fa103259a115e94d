"""How strict reads an answer, degenerate cases first."""

import pytest

from evalkit.cli.config import build, load_option
from evalkit.core.types import Prediction, Sample
from tests.support.protocols import protocol, row, scores

MASS = "Is there a mass?"
NORMAL = "Is the heart normal?"
SIDE = "Is the lesion on the left or right side?"

# question, gold, answer, value, words in the reason
CLOSED = [
    (MASS, "yes", "", 0, ""),
    (MASS, "no", "", 0, ""),
    (MASS, "no", "...", 0, ""),
    (MASS, "no", "Normal", None, "no yes or no"),
    (MASS, "no", "abnormal", None, "no yes or no"),
    (MASS, "yes", "Yes, it is abnormal", 1, ""),
    (SIDE, "left", "left", 1, ""),
    (MASS, "yes", "left", None, "no yes or no"),
    (MASS, "yes", "yes yes yes", 1, ""),
    ("Is there one mass or two?", "two", "2", 1, ""),
    ("How many, one or two?", "2", "Two masses", 1, ""),
    (MASS, "yes", "ＹＥＳ", 1, ""),
    (MASS, "yes", "“Yes”", 1, ""),
    (MASS, "yes", "Yes, the diagnosis is pneumonia.", 1, ""),
    (NORMAL, "yes", "Yes, the heart is normal.", 1, ""),
    (MASS, "no", "There is no evidence of a mass.", 1, ""),
    (MASS, "yes", "There is no evidence of a mass.", 0, ""),
    (MASS, "no", "The image doesn't show a mass", 1, ""),
    (MASS, "yes", "There is a mass.", 1, ""),
    (MASS, "yes", "There is a fracture.", None, "no yes or no"),
    (MASS, "no", "No mass seen.", 1, ""),
    (NORMAL, "yes", "No abnormality.", None, "no yes or no"),
    (NORMAL, "no", "The heart is not normal.", 1, ""),
    ("Is there no mass?", "yes", "There is no mass.", None, "the question is negative"),
    (MASS, "no", "It is not true that there is no mass", None, "two negations"),
    (MASS, "no", "I cannot determine this.", None, "cannot tell"),
    (MASS, "no", "Unknown", None, "cannot tell"),
    (MASS, "no", "Not sure if there is a mass", None, "cannot tell"),
    (MASS, "no", "Yes and no.", None, "both yes and no"),
    (MASS, "yes", "yes or no", None, "both yes and no"),
    (MASS, "no", "No, not yes.", 1, ""),
    (MASS, "yes", "The answer is yes", 1, ""),
    (MASS, "yes", "Absolutely yes because of the border", 1, ""),
    (MASS, "no", "Definitely no.", 1, ""),
    (MASS, "no", "I would say no but I am no expert", 1, ""),
    (MASS, "yes", "no it is not a mass, yes it is", None, "both yes and no"),
    (MASS, "yes", "Yes, no other finding", 1, ""),
    (MASS, "no", "No the picture shows a heart", 1, ""),
    (MASS, "yes", "eyes", None, "no yes or no"),
    (MASS, "yes", "Assistant: yes", 1, ""),
    (MASS, "no", "False.", 1, ""),
    (SIDE, "left", "right", 0, ""),
    (SIDE, "left", "left and right", None, "names both: left and right"),
    (SIDE, "left", "It is on the right, not left", 0, ""),
    (SIDE, "left", "the liver", None, "none of the options"),
    (SIDE, "left", "yes", None, "none of the options"),
    ("Is this normal or abnormal?", "abnormal", "normal", 0, ""),
    ("Is this an MRI or a CT scan?", "MRI", "magnetic resonance imaging", 1, ""),
    ("Which organ is abnormal, heart or lung?", "Lung", "The lungs are abnormal", 1, ""),
    ("Which organ is abnormal, heart or lung?", "Lung", "heart", 0, ""),
    ("Which plane, transverse plane or coronal plane?", "Coronal Plane", "coronal", 1, ""),
    ("Which is smaller, liver or right kidney?", "Right Kidney", "right kidney", 1, ""),
    ("Which is bigger, kidney or spleen?", "Liver", "spleen", 0, ""),
    ("图片中包含肝脏吗?", "包含", "不包含", 0, ""),
    ("图片中包含肝脏吗?", "不包含", "没有。", 1, ""),
    ("图片中包含肝脏吗?", "包含", "是的，图片中有肝脏", 1, ""),
    ("图片中包含肝脏吗?", "不包含", "图中没有肝脏", 1, ""),
    ("图片中包含肝脏吗?", "包含", "肝脏", None, "no yes or no"),
    ("图片中包含肝脏吗?", "包含", "是，不是", None, "both yes and no"),
    ("肺是健康的吗?", "不是", "不健康", 1, ""),
    ("这张图片看起来正常吗?", "不正常", "不是", 1, ""),
    ("扫描的是哪个平面,横断面还是冠状面?", "冠状面", "横断面", 0, ""),
    ("能用来检查吗?", "不可以", "可以", 0, ""),
]


@pytest.mark.parametrize(("question", "gold", "answer", "expected", "reason"), CLOSED)
def test_a_closed_answer_is_right_wrong_or_unreadable_with_the_reason(question, gold, answer, expected, reason):
    score = scores("strict", gold, answer, "CLOSED", question)["closed_accuracy"]
    assert score.value == expected
    assert reason in score.reason


def test_choices_of_the_row_are_the_options():
    score = scores("strict", "MRI", "CT or MRI", "CLOSED", choices=("CT", "MRI"))["closed_accuracy"]
    assert (score.value, score.reason) == (None, "names both: ct and mri")


# gold, answer, recall, F1, exact match
OPEN = [
    ("left lower lobe", "", 0, 0, 0),
    ("left lower lobe", "left left left left", 1 / 3, 1 / 2, 0),
    ("left lower lobe", "LLL", 1, 1, 1),
    ("left lower lobe", "right lower lobe", 2 / 3, 2 / 3, 0),
    ("mri", "magnetic resonance imaging", 1, 1, 1),
    ("x-ray", "X ray", 1, 1, 1),
    ("Chest X-ray", "chest radiograph", 1, 1, 1),
    ("CT", "The image is a computed tomography.", 1, 1 / 2, 0),
    ("2", "two", 1, 1, 1),
    ("none", "0", 0, 0, 0),
    ("1,000 ml", "1000 mL", 1, 1, 1),
    ("5.5 cm", "5.5cm", 1, 1, 1),
    ("lung, spinal cord", "Spinal cord and lung", 1, 1, 1),
    ("left lung, right kidney", "right lung, left kidney", 1, 1, 0),
    ("left", "right", 0, 0, 0),
    ("left lung", "lung", 1 / 2, 2 / 3, 0),
    ("haemorrhage", "Hemorrhage.", 1, 1, 1),
    ("肺", "肺。", 1, 1, 1),
    ("café-like", "cafe\u0301 like", 1, 1, 1),
]


@pytest.mark.parametrize(("gold", "answer", "recall", "f1", "exact"), OPEN)
def test_an_open_answer_is_compared_as_sets_of_words_after_aliases(gold, answer, recall, f1, exact):
    found = scores("strict", gold, answer)
    measured = [found[name].value for name in ("open_recall", "open_f1", "exact_match")]
    assert measured == pytest.approx([recall, f1, exact])


def test_every_alias_that_was_used_is_in_the_note():
    note = scores("strict", "MRI", "magnetic resonance imaging of the oesophagus")["open_recall"].note
    assert note == "aliases: magnetic resonance imaging -> mri; oesophagus -> esophagus"
    assert scores("strict", "lung", "lung")["open_recall"].note == ""


def test_an_error_is_unscored():
    for answer_type in ("OPEN", "CLOSED"):
        found = protocol("strict").score(row("yes", answer_type), Prediction(sample_id="1", error="timeout"))
        assert {(s.value, s.reason) for s in found} == {(None, "error: timeout")}


def test_an_unlabelled_row_counts_only_for_exact_match():
    assert set(scores("strict", "lung", "lung", answer_type=None)) == {"exact_match"}


SIDES = frozenset(
    [*("left", "right", "upper", "lower", "anterior", "posterior", "superior", "inferior"),
     *("medial", "lateral", "proximal", "distal", "bilateral", "unilateral")]
)  # fmt: skip
# abbreviations and spellings that hold their side, so that only the words can differ
NAMES_OF_ONE_SIDE = {"right lower lobe", "right middle lobe", "right upper lobe", "left lower lobe", "left upper lobe",
                     "inferior vena cava", "superior vena cava", "pa", "ap", "bilateral"}  # fmt: skip


def test_no_alias_merges_sides_or_directions():
    from evalkit.scoring.text.aliases import GROUPS

    for group in GROUPS:
        sides = {SIDES & set(phrase.replace("-", " ").split()) for phrase in group}
        if group[0] in NAMES_OF_ONE_SIDE:
            assert group[0] in ("pa", "ap") or len(sides - {frozenset()}) <= 1, group
        else:
            assert sides == {frozenset()}, group


@pytest.mark.parametrize(
    ("gold", "answer"), [("left lung", "right lung"), ("LLL", "RLL"), ("IVC", "SVC"), ("AP", "PA")]
)
def test_a_side_is_never_read_as_another_side(gold, answer):
    assert scores("strict", gold, answer)["exact_match"].value == 0


def test_no_phrase_is_in_two_groups():
    from evalkit.scoring.text.aliases import GROUPS
    from evalkit.scoring.text.medical import plain_words

    owners = {}
    for group in GROUPS:
        for phrase in group:
            assert owners.setdefault(plain_words(phrase), group[0]) == group[0], phrase


@pytest.mark.parametrize(
    ("answer", "value"), [("right", 1.0), ("Right side", 1.0), ("left", 0.0), ("on the left side", 0.0)]
)
def test_a_choice_inside_the_gold_answer_is_not_a_competing_option(answer: str, value: float) -> None:
    sample = Sample(
        id="1", image_id="i", question="Is the gastric bubble shown on the left or right side of the patient?",
        references=("Right side",), choices=("left", "right"), tags={"answer_type": "CLOSED"},
    )  # fmt: skip
    scores = build(load_option("protocol", "strict"), "strict").score(sample, Prediction(sample_id="1", text=answer))
    assert next(s.value for s in scores if s.metric == "closed_accuracy") == value
