"""How strict reads an answer, degenerate cases first."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evalkit.cli.config import build, load_option
from evalkit.core.types import Prediction, Sample
from evalkit.scoring.text.yes_no import read_yes_no
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


PNEUMO = "Is there a pneumothorax?"
DENIALS = (
    "Negative for pneumothorax.", "Neg for pneumothorax", "Pneumothorax: negative", "Pneumothorax is ruled out.",
    "Rules out a pneumothorax", "Pneumothorax has been excluded.", "The lungs are free of pneumothorax",
    "Clear of pneumothorax.", "pneumothorax-free", "Lack of pneumothorax", "The film lacks a pneumothorax.",
    "The image fails to show a pneumothorax", "There is failure to demonstrate a pneumothorax.",
    "Absence of pneumothorax is noted", "Pneumothorax: absent", "Pneumothorax (absent)", "Pneumothorax is unlikely.",
    "The pneumothorax has resolved.", "The pneumothorax is no longer seen", "Unable to identify a pneumothorax",
    "Findings argue against pneumothorax", "Pneumothorax: none", "There is nothing to suggest a pneumothorax",
    "It is false that there is a pneumothorax", "The lungs are without a pneumothorax", "No effusion, no pneumothorax",
    "There is neither an effusion nor a pneumothorax", "Pneumothorax is not seen on this radiograph.",
    "There is an effusion. There is not a pneumothorax.", "The x-ray isnt showing a pneumothorax",
)  # fmt: skip
UNREADABLE = (
    "Pneumothorax cannot be excluded.", "Pneumothorax is not ruled out", "Pneumothorax can't be excluded",
    "There is no change in the pneumothorax", "No doubt there is a pneumothorax", "Not only a pneumothorax",
    "Atelectasis rather than pneumothorax", "I was asked whether there is a pneumothorax",
    "If there is a pneumothorax, the pleural line is seen", "A pneumothorax would be darker",
    "There is a pneumothorax without tension", "There is a pneumothorax, not large", "Pneumothorax: positive or negative",  # noqa: E501
)  # fmt: skip
AFFIRMATIONS = (
    "Positive for pneumothorax", "Pneumothorax: positive", "There is not an effusion. There is a pneumothorax.",
    "There isn't an effusion, but there is a pneumothorax.", "The pneumothorax is large", "Pneumothorax is present",
)  # fmt: skip


@pytest.mark.parametrize("answer", DENIALS)
def test_every_plain_way_to_deny_it_is_a_no(answer):
    assert read_yes_no(answer, PNEUMO).polarity == "no"


@pytest.mark.parametrize("answer", UNREADABLE)
def test_what_neither_affirms_nor_denies_it_is_unscored(answer):
    assert read_yes_no(answer, PNEUMO).polarity is None


@pytest.mark.parametrize("answer", AFFIRMATIONS)
def test_a_sentence_that_affirms_it_is_a_yes_whatever_another_one_denies(answer):
    assert read_yes_no(answer, PNEUMO).polarity == "yes"


@pytest.mark.parametrize(
    ("question", "answer", "polarity"),
    [
        ("Is the effusion resolved?", "The effusion has resolved.", "yes"),
        ("Is the effusion resolved?", "The effusion has not resolved.", "no"),
        ("Is the lung free of disease?", "The lung is free of disease.", "yes"),
        ("Is the stain negative?", "The stain is negative.", "yes"),
        ("Is the stain negative?", "Negative", None),
        ("Is the stain positive?", "Negative", "no"),
        ("Is there heart failure?", "There is heart failure.", "yes"),
    ],
)
def test_a_denial_that_the_question_asks_about_is_not_one(question, answer, polarity):
    assert read_yes_no(answer, question).polarity == polarity


ECHOES = (
    "Is there a pneumothorax?", "is there a pneumothorax", "Is there a pneumothorax.", "**Is there a pneumothorax?**",
    "Question: Is there a pneumothorax?", "Is there a pneumothorax? Is there a pneumothorax?", "Does it show pneumothorax",  # noqa: E501
    "Is there a pneumothorax?</s>",
)  # fmt: skip


@pytest.mark.parametrize("answer", ECHOES)
def test_an_echo_of_the_question_is_unscored(answer):
    reading = read_yes_no(answer, PNEUMO)
    assert (reading.polarity, reading.reason) == (None, "repeats the question")
    assert read_yes_no(f"{answer} Yes.", PNEUMO).polarity == "yes"
    assert (
        scores("strict", "liver", "Is this the liver", "CLOSED", "Is this the liver?")["closed_accuracy"].value is None
    )


FORMS = (
    "{}", "{}.", "{} (mild)", "{} (mild).", "{} – mild", "{}/mild", "**{}** mild", "__{}__ mild", "*{}*", "{}</s>",
    "{}<|im_end|>", "{}<|endoftext|> mild", "<answer>{}</answer>", "<answer> {} </answer>", "{} mild", "{}: mild",
    "{}-mild", "{} | mild", "{} = mild", "({})", "[{}]", "“{}”", "'{}' mild", "\\boxed{{{}}}", '{{"answer": "{}"}}',
    "The answer is {}", "The answer is **{}** (mild).", "Answer: {}", "\u200b{}", "{}…", "{} → mild", "{}! It is",
    "I would say {} (mild)", "Final answer: {}</s>", "- {}", "> {}", "{}\n\nmild", "{} it is", "{} the lung is",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_no_is_read_in_every_form_in_which_yes_is(form):
    assert [read_yes_no(form.format(word), PNEUMO).polarity for word in ("Yes", "No")] == ["yes", "no"]
    assert [read_yes_no(form.format(word), PNEUMO).polarity for word in ("YES", "NO")] == ["yes", "no"]


def swapped(text: str) -> str:
    """The text with yes for no and no for yes, in the case of each."""
    other = {"yes": "no", "no": "yes", "Yes": "No", "No": "Yes", "YES": "NO", "NO": "YES"}
    return re.sub(
        r"(?<![^\W_])(?:yes|no)(?![^\W_]|'[^\W_])",
        lambda word: other.get(word[0], other[word[0].lower()]),
        text,
        flags=re.I,
    )


PIECES = [
    *("yes", "no", "Yes", "NO", "not", "isn't", "mass", "masses", "heart", "normal", "abnormality", "effusion", "mild"),
    *("there", "is", "a", "the", "of", "in", "evidence", "but", "or", "nor", "neither", "and", "because", "doubt"),
    *("change", "(", ")", ",", ".", "?", ":", "-", "/", "**", "</s>", "<answer>", "\n", "是的", "没有", "possibly"),
    *("resolved", "absence", "negative", "positive", "left", "question", "whether", "only", "There is", "no mass"),
]
QUESTIONS = (
    MASS,
    NORMAL,
    "Are there masses, yes or no?",
    "Is there no mass?",
    "Does it show a mass?",
    "图片中有肝脏吗?",
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    answer=st.lists(st.sampled_from(PIECES), max_size=9).map(" ".join)
    | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
    | st.tuples(st.sampled_from(FORMS), st.text(max_size=8)).map(lambda parts: parts[0].format("no") + parts[1]),
    question=st.sampled_from(QUESTIONS),
)
def test_swapping_yes_and_no_in_an_answer_swaps_its_reading(answer, question):
    assume(swapped(answer) != answer)
    expected = {"yes": "no", "no": "yes", None: None}[read_yes_no(answer, question).polarity]
    assert read_yes_no(swapped(answer), question).polarity == expected


@pytest.mark.parametrize(
    ("answer", "polarity"),
    [
        ("沒有", "no"),
        ("圖片中沒有肝臟", "no"),
        ("圖中有肝臟", "yes"),
        ("是的，圖片中包含肝臟", "yes"),
        ("未見肝臟", "no"),
        ("不能排除肝脏", None),
        ("图片中包含肝脏吗？", None),
        ("圖片中包含肝臟嗎", None),
        ("图中是否有肝脏", None),
        ("No，图中的肝脏", "no"),
        ("No，没有肝脏", "no"),
    ],
)
def test_traditional_chinese_is_read_as_simplified(answer, polarity):
    assert read_yes_no(answer, "图片中包含肝脏吗?").polarity == polarity
    assert scores("strict", "肿瘤", "腫瘤")["exact_match"].value == 1


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
