"""Sentences of reports under strict: a number only where the reading is plain, else unscored with a reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.scoring.text.yes_no import read_yes_no
from tests.support.protocols import scores

EFFUSION = "Is there a pleural effusion?"
PNEUMO = "Is there a pneumothorax?"
SIZE = "Is the heart size normal?"
LUNGS = "Are the lungs normal?"
LUNG_MASS = "Is there a mass in the left lung?"
FRACTURE = "Is there a fracture?"
ENLARGED = "Is the heart enlarged?"
PNEUMONIA = "Does the patient have pneumonia?"
CT = "Is this a CT scan?"
FEMUR = "Is there a fracture of the left femur?"
LIVER = "Does the image show a mass in the liver?"

OF_SOMETHING_ELSE = {
    EFFUSION: (
        "Pleural effusion is present, pneumonia is excluded", "Pneumothorax is ruled out, pleural effusion is seen",
        "Pleural effusion with resolved pneumothorax", "Pleural effusion, unlikely to be malignant",
        "Pneumothorax is absent and a pleural effusion is present",
        "The lungs are free of consolidation and there is a pleural effusion",
        "There is no pneumothorax, and there is a pleural effusion.", "No pneumothorax, pleural effusion present",
        "Pneumothorax is gone; a pleural effusion is seen", "Pneumonia was excluded. There is a pleural effusion.",
        "Pneumothorax: no. Pleural effusion: present.", "Small pleural effusion, pneumothorax is absent",
        "The pneumothorax has resolved, with pleural effusion", "Negative for pneumothorax, pleural effusion present",
        "Without pneumothorax, a pleural effusion is seen", "No pneumothorax and small pleural effusion",
        "There isn't a pneumothorax and there is a pleural effusion",
    ),
    SIZE: (
        "There is no cardiomegaly and the heart size is normal.",
        "The heart is not enlarged and its size is normal", "Not enlarged, heart size is normal",
    ),
    LUNGS: ("The lungs show no abnormality; normal", "No effusion is seen and the lungs are normal"),
}  # fmt: skip


@pytest.mark.parametrize(("question", "answer"), [(q, a) for q, many in OF_SOMETHING_ELSE.items() for a in many])
def test_a_denial_of_something_else_is_never_a_no(question, answer):
    assert read_yes_no(answer, question).polarity != "no"


NOT_AFFIRMED = {
    PNEUMO: (
        "There was a pneumothorax but it resolved", "Pneumothorax: nil", "Pneumothorax (-)", "Pneumothorax: 0",
        "There is little evidence of pneumothorax", "low probability of pneumothorax",
        "scant evidence of pneumothorax",
        "Pneumothorax -", "Pneumothorax ✗", "Pneumothorax 👎", "A pneumothorax was seen. It has been treated.",
        "Pneumothorax. Resolved.", "Pneumothorax; none", "The pneumothorax was drained", "Pneumothorax, gone",
        "There is hardly any pneumothorax", "Previous pneumothorax", "The pneumothorax is a skin fold",
        "In pneumothorax, the pleural line is seen", "Anything but pneumothorax", "Pneumothorax or bulla",
        "A pneumothorax is seen. This is no longer the case.", "Pneumothorax is mimicked by a skin fold",
    ),
    EFFUSION: (
        "A pleural effusion was noted but has since resolved", "Pleural effusion [-]", "Pleural effusion: N",
        "Previously there was a pleural effusion; it is gone now", "Pleural effusion present before, now resolved",
        "Pneumothorax: yes", "There is pleural disease and an effusion of the knee is excluded",
    ),
    LUNG_MASS: (
        "A mass was present in the left lung but has been resected", "A mass in the left lung is ruled-out",
        "I doubt there is a mass in the left lung", "There is a mass in the right lung, the left lung is clear",
        "A mass in the liver, effusion in the left lung", "The left lung: mass removed",
    ),
    FRACTURE: (
        "Rule-out fracture", "fracture free", "freedom from fracture", "fracture: -ve", "-ve for fracture",
        "Fracture ❌",
        "unremarkable for fracture", "The fracture has healed", "Fracture, healed", "Fracture - nil",
    ),
    ENLARGED: (
        "The heart was enlarged but is now normal", "The heart is anything but enlarged", "far from enlarged heart",
        "The heart is enlarged. The heart is normal in size.", "The heart was enlarged, since then normal",
    ),
    PNEUMONIA: ("Patient is pneumonia free", "The patient is free from pneumonia", "The patient had pneumonia"),
    CT: ("Other than CT scan", "This is an MRI, not a CT scan", "A CT scan would be better"),
}  # fmt: skip
SPECULATIONS = (
    "History of", "Follow up for", "Follow-up of", "Check for", "Concern for", "Possible", "Suspected",
    "Suspicious for",
    "Query", "?", "h/o", "Evaluate for", "Rule out", "R/O", "To exclude", "Prior", "Old", "Treated", "Risk of",
    "Likely",
    "Probable", "Consider", "Differential includes", "Questionable", "Suggestive of", "Status post",
    "Recommend CT for",
)  # fmt: skip


@pytest.mark.parametrize(("question", "answer"), [(q, a) for q, many in NOT_AFFIRMED.items() for a in many])
def test_what_is_gone_or_denied_in_any_notation_is_never_a_yes(question, answer):
    assert read_yes_no(answer, question).polarity != "yes"


@pytest.mark.parametrize("words", SPECULATIONS)
@pytest.mark.parametrize(("thing", "question"), [("pneumothorax", PNEUMO), ("fracture of the left femur", FEMUR)])
def test_a_speculation_is_unscored(words, thing, question):
    reading = read_yes_no(f"{words} {thing}", question)
    assert reading.polarity is None
    assert reading.reason


LEADS = (
    "In this image, {}", "Given the image, {}", "Hi, {}", "Please answer: {}", "Describe: {}", "the user asks {}",
    "I was asked: {}", "Please tell me: {}", "I need to answer {}", "Question - {}", "The question is {}", "So {}",
    "Based on the scan, {}", "{}\n{}",
)  # fmt: skip


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("question", [PNEUMO, PNEUMONIA, ENLARGED, LUNG_MASS, LIVER])
def test_an_echo_behind_a_lead_in_is_unscored(lead, question):
    echo = question.rstrip("?")
    for asked in (echo, echo.lower(), question):
        assert read_yes_no(lead.format(asked, asked), question).polarity is None


# How reports put it: y and n are plain and are read, u is not and is never read.
REPORTS = {
    PNEUMO: """y There is a small right apical pneumothorax.
y Large left-sided pneumothorax with mediastinal shift.
y A moderate right pneumothorax is again seen.
y There is persistent left pneumothorax measuring 2.5 cm.
y Findings: pneumothorax. Impression: right pneumothorax.
n No pneumothorax is seen.
n No focal consolidation, pleural effusion, or pneumothorax is identified.
n The lungs are clear without effusion or pneumothorax.
n No radiographic evidence for pneumothorax.
n Neither pneumothorax nor effusion is present.
n There has been resolution of the pneumothorax.
n Pleural effusion: present. Pneumothorax: absent.
n Pneumothorax - none
u No large pneumothorax.
u No new pneumothorax.
u No pneumothorax on the left.
u Cannot exclude a small pneumothorax.
u Near complete resolution of the pneumothorax.
u Skin fold mimicking pneumothorax.
u Chest tube in place for treatment of pneumothorax.
u Improved pneumothorax.
u No pneumothorax on the prior film.""",
    EFFUSION: """y Small bilateral pleural effusions.
y There is a moderate left pleural effusion with adjacent atelectasis.
y There is cardiomegaly, pulmonary edema and a pleural effusion.
y Pneumonia is excluded. There is a pleural effusion.
y The right lung is clear of consolidation. A left pleural effusion is present.
y Pleural effusion: present. Pneumothorax: absent.
n No consolidation or pleural effusion.
n The heart is enlarged, but there is no pleural effusion.
n There is consolidation without pleural effusion.
n Pneumothorax is present, pleural effusion is absent.
n No evidence of acute infiltrate, pleural effusion, or pneumothorax.
n Lungs: no consolidation. Pleura: no pleural effusion.
u No pneumothorax, small pleural effusion.
u Pleural effusion has been drained.
u No increase in pleural effusion.
u Elevated hemidiaphragm rather than pleural effusion.
u There was a pleural effusion last week.""",
    ENLARGED: """y The heart is mildly enlarged.
y Enlarged heart.
y The lungs are clear and the heart is enlarged.
n The heart does not appear enlarged.
n Heart not enlarged, lungs clear.
u The heart is borderline enlarged.
u The heart is less enlarged than before.
u The heart is of normal size and the left atrium is enlarged.
u An enlarged heart would be seen in cardiomyopathy.""",
    FEMUR: """y There is an acute fracture through the neck of the left femur.
y The left femur has a fracture.
n No fracture or dislocation of the left femur.
n Left femur: no fracture.
n The left femur is intact without fracture.
u No displaced fracture of the left femur.
u Fracture of the right femur. The left femur is intact.
u Left femur fracture, healed.
u There is a fracture of the right femur and the left femur is normal.""",
    LIVER: """y The CT image shows a mass in the liver and a cyst in the kidney.
y Multiple masses are present in the liver.
n There is no mass or cyst in the liver.
n The image fails to show a mass in the liver.
u There is a mass in the kidney, a cyst in the liver.
u No mass effect on the liver.
u No vessel is seen in the mass of the liver.
u The border of the liver mass is not seen.
u The area of the mass in the liver is not included.
u The liver mass region is not shown.
u Identify the mass in the liver.
u In case of a mass in the liver.
u The liver mass is stable after ablation.""",
    LUNGS: """y The lungs are normal.
n The lungs are not normal.
u The right lung is normal.
u The lungs are normal except for a nodule.
u The lungs are nearly normal.""",
}


@pytest.mark.parametrize(
    ("question", "expected", "answer"),
    [(q, *line.strip().split(" ", 1)) for q, text in REPORTS.items() for line in text.splitlines()],
)
def test_sentences_of_reports_are_read_where_they_are_plain(question, expected, answer):
    assert read_yes_no(answer, question).polarity == {"y": "yes", "n": "no", "u": None}[expected]


FINDINGS = ("pneumothorax", "pleural effusion", "consolidation", "fracture", "pulmonary edema", "mass")
AFFIRM = ("there is a {}", "a {} is seen", "{} is present", "the image shows a {}")
DENY = ("{} is excluded", "{} is ruled out", "there is not a {}", "{} is absent", "the film fails to show a {}")
JOIN = ("{}. {}.", "{}, {}", "{}; {}", "{}, but {}", "{} and {}", "{}, and {}", "{}; however, {}", "{}\n{}")


@settings(max_examples=300, deadline=None)
@given(
    pair=st.permutations(FINDINGS).map(lambda names: names[:2]),
    forms=st.tuples(st.sampled_from(AFFIRM), st.sampled_from(DENY)),
    join=st.sampled_from(JOIN),
    affirmed_first=st.booleans(),
)
def test_each_of_two_clauses_is_read_by_itself(pair, forms, join, affirmed_first):
    has, lacks = pair
    parts = [forms[0].format(has), forms[1].format(lacks)]
    answer = join.format(*(parts if affirmed_first else reversed(parts)))
    assert read_yes_no(answer, f"Is there a {has}?").polarity == "yes"
    assert read_yes_no(answer, f"Is there a {lacks}?").polarity == "no"


SIDE, KIND, ZH_SIDE = "Is it on the left or right?", "Is this a CT or an MRI?", "病变在左侧还是右侧?"
# question, gold, answer, value
OPTIONS = [
    *((SIDE, "left", answer, None) for answer in (
        "It isn't the left", "left is ruled out", "The left is excluded", "negative for left", "instead of left",
        "neither left nor right", "left: no", "The left is not seen", "Is it left?", "left?", "It may be left",
        "not right", "Please tell me: is it the left", "possibly left",
    )),
    *((SIDE, "left", answer, 1) for answer in (
        "left", "No, it is left", "Left lung without effusion", "left rather than right",
        "It is on the left, not right",
        "It's not on the right; it's on the left", "is on the left", "The answer is the left", "Answer: left side",
        "The final answer is a left one", "Not on the right but on the left",
    )),
    *((SIDE, "left", answer, 0) for answer in ("right instead of left", "Not left but right", "not left, right")),
    *((KIND, "CT", answer, None) for answer in (
        "It isn't a CT", "CT is ruled out", "other than CT", "Is this a CT?", "Is this a CT", "Not MRI",
    )),
    *((KIND, "CT", answer, 1) for answer in (
        "CT without contrast", "This is a CT, not an MRI", "CT negative for bleed", "Non-contrast CT",
    )),
    (KIND, "CT", "MRI without contrast", 0),
    (ZH_SIDE, "左侧", "不是左侧", None), (ZH_SIDE, "左侧", "左侧已排除", None), (ZH_SIDE, "左侧", "左侧吗?", None),
    (ZH_SIDE, "左侧", "不是左侧而是右侧", 0), (ZH_SIDE, "左侧", "不是左侧,是右侧", 0),
    (ZH_SIDE, "左侧", "不是右侧,是左侧", 1), (ZH_SIDE, "左側", "左側,不是右側", 1),
    ("With contrast or no contrast?", "no contrast", "no contrast", 1),
    ("Is it positive or negative?", "negative", "negative", 1),
]  # fmt: skip


@pytest.mark.parametrize(("question", "gold", "answer", "value"), OPTIONS)
def test_an_option_that_is_denied_or_only_asked_about_is_not_named(question, gold, answer, value):
    score = scores("strict", gold, answer, "CLOSED", question)["closed_accuracy"]
    assert score.value == value
    assert bool(score.reason) == (value is None)


@pytest.mark.parametrize("answer", ["A", "the", "An", "a.", "✓", "❌", "👍", "and"])
def test_an_answer_of_which_no_word_is_left_is_unscored_and_not_empty(answer):
    for gold, question in (("no", PNEUMO), ("yes", PNEUMO), ("left", SIDE)):
        score = scores("strict", gold, answer, "CLOSED", question)["closed_accuracy"]
        assert (score.value, score.note) == (None, "")
        assert score.reason


@pytest.mark.parametrize("answer", ["", " ", "\n", "...", "-", "\u200b"])
def test_an_answer_without_text_is_wrong(answer):
    score = scores("strict", "no", answer, "CLOSED", PNEUMO)["closed_accuracy"]
    assert (score.value, score.note) == (0, "empty answer")
