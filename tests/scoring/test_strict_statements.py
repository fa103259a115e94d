"""strict on the sentences of reports: whose denial it is, what is taken back, doubt, echoes, Chinese."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scoring.text.yes_no import read_yes_no
from tests.support.protocols import scores

EFFUSION, PNEUMOTHORAX = "Is there a pleural effusion?", "Is there a pneumothorax?"
FRACTURE, PNEUMONIA = "Is there a fracture?", "Does the patient have pneumonia?"
HEART, SIZE, LUNGS = "Is the heart enlarged?", "Is the heart size normal?", "Are the lungs normal?"
MASS = "Is there a mass in the left lung?"

# Answers that say nothing about what is asked, or say it and take it back: unscored.
UNREAD = {
    EFFUSION: [
        "Pleural effusion is present, pneumonia is excluded",
        "Pneumothorax is ruled out, pleural effusion is seen",
        "Pleural effusion with resolved pneumothorax",
        "Pleural effusion, unlikely to be malignant",
        "Pneumothorax is absent and a pleural effusion is present",
        "The lungs are free of consolidation and there is a pleural effusion",
        "There is no pneumothorax, and there is a pleural effusion.",
        "No pneumothorax, pleural effusion present",
        "A pleural effusion was noted but has since resolved",
        "Previously there was a pleural effusion; it is gone now",
    ],
    PNEUMOTHORAX: [
        "There was a pneumothorax but it resolved",
        "There is little evidence of pneumothorax",
        "low probability of pneumothorax",
        "History of pneumothorax",
        "Follow up for pneumothorax",
        "Check for pneumothorax",
        "Concern for pneumothorax",
        "Possible pneumothorax",
        "Suspected pneumothorax",
        "I was asked: is there a pneumothorax",
        "Please tell me: is there a pneumothorax",
    ],
    SIZE: [
        "There is no cardiomegaly and the heart size is normal.",
        "The heart is not enlarged and its size is normal",
    ],
    LUNGS: ["The lungs show no abnormality; normal"],
    HEART: [
        "The heart was enlarged but is now normal",
        "The heart is far from enlarged",
        "The heart is anything but enlarged",
    ],
    MASS: ["A mass was present in the left lung but has been resected", "I doubt there is a mass in the left lung"],
    PNEUMONIA: [
        "In this image, does the patient have pneumonia",
        "Given the image, does the patient have pneumonia",
        "Hi, does the patient have pneumonia",
        "Please answer: does the patient have pneumonia",
        "the user asks does the patient have pneumonia",
    ],
}
NO = {
    PNEUMOTHORAX: [
        "Pneumothorax: nil",
        "Pneumothorax (-)",
        "Pneumothorax: 0",
        "A pneumothorax is unlikely",
        "The possibility of pneumothorax is excluded",
        "Pneumothorax and effusion are excluded",
        "The lungs are clear, with no pneumothorax",
        "No effusion, pneumothorax, or consolidation is seen.",
        "The heart is normal and there is no pneumothorax",
        "I see no pneumothorax in this image, and the lungs are clear",
        "Neither effusion nor pneumothorax is seen",
    ],
    EFFUSION: ["Pleural effusion [-]", "Pleural effusion: N"],
    FRACTURE: [
        "fracture free",
        "freedom from fracture",
        "fracture: -ve",
        "-ve for fracture",
        "Fracture ❌",
        "unremarkable for fracture",
        "The fracture has healed",
        "Rule-out fracture",
    ],
    PNEUMONIA: ["Patient is pneumonia free"],
    MASS: ["A mass in the left lung is ruled-out"],
}
YES = {
    PNEUMOTHORAX: [
        "There is a pneumothorax",
        "A large pneumothorax with mediastinal shift",
        "There is a small pneumothorax and a normal heart",
        "The image shows a pneumothorax.",
    ],
}
READINGS = [
    (question, answer, polarity)
    for table, polarity in ((UNREAD, None), (NO, "no"), (YES, "yes"))
    for question, answers in table.items()
    for answer in answers
]


@pytest.mark.parametrize(("question", "answer", "polarity"), READINGS)
def test_a_denial_counts_for_what_it_denies(question: str, answer: str, polarity: str | None) -> None:
    assert read_yes_no(answer, question).polarity == polarity


LEFT, CT = "Is it on the left or right?", "Is this a CT or an MRI?"


@pytest.mark.parametrize(
    ("question", "gold", "answer", "value"),
    [
        (LEFT, "left", "It isn't the left", None),
        (LEFT, "left", "left is ruled out", None),
        (LEFT, "left", "The left is excluded", None),
        (LEFT, "left", "negative for left", None),
        (LEFT, "left", "instead of left", None),
        (LEFT, "left", "Is it left or right", None),
        (LEFT, "left", "Left, not right", 1),
        (LEFT, "left", "not left but right", 0),
        (CT, "CT", "It isn't a CT", None),
        (CT, "CT", "CT is ruled out", None),
        (CT, "CT", "other than CT", None),
        (CT, "CT", "Is this a CT?", None),
        (CT, "CT", "This is an MRI, not CT", 0),
        (CT, "CT", "A", None),
        ("Is there a mass?", "yes", "A", None),
        ("Is there a mass?", "yes", "(A)", None),
        ("Is there a mass?", "yes", "...", 0),
    ],
)
def test_an_option_that_is_denied_or_asked_for_is_not_named(
    question: str, gold: str, answer: str, value: float | None
) -> None:
    assert scores("strict", gold, answer, "CLOSED", question)["closed_accuracy"].value == value


PAIRS = [
    ("是", "否"), ("是", "不是"), ("是的", "不是的"), ("有", "没有"), ("有", "無"), ("存在", "不存在"),
    ("包含", "不包含"), ("可以", "不可以"), ("能", "不能"), ("会", "不会"), ("會", "不會"), ("对", "不对"),
    ("對", "不對"), ("阳性", "阴性"), ("正确", "不正确"), ("正确", "错误"), ("正常", "不正常"), ("健康", "不健康"),
    ("属于", "不属于"),
]  # fmt: skip
FRAMES = [
    "{}", "{}。", "答案：{}", "答案是{}", "答案为{}。", "回答：{}", "结论：{}", "最终答案：{}", "**{}**", "“{}”",
    "（{}）", "【{}】", "<answer>{}</answer>", "{}</s>", "\\boxed{{{}}}", "A. {}", "我认为{}", "图中{}", "{}（轻度）",
    "{}/轻度", "{}-轻度", "{} mild", "轻度，{}", "{}，如图所示", "根据图像，答案是{}。", "{}啊",
]  # fmt: skip
ASKED = ["图中有异常吗?", "图片中包含肝脏吗?", "肺是正常的吗?", "这张图是CT吗?", "病人健康吗?"]
OPPOSITE = {"yes": "no", "no": "yes", None: None}


@given(pair=st.sampled_from(PAIRS), frame=st.sampled_from(FRAMES), question=st.sampled_from(ASKED))
def test_swapping_a_chinese_yes_and_no_swaps_the_reading(pair: tuple[str, str], frame: str, question: str) -> None:
    yes, no = (read_yes_no(frame.format(word), question).polarity for word in pair)
    assert no == OPPOSITE[yes]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_chinese_verdict_is_read_in_every_frame(frame: str) -> None:
    assert read_yes_no(frame.format("是"), "图中有异常吗?").polarity == "yes"
    assert read_yes_no(frame.format("否"), "图中有异常吗?").polarity == "no"


MEDICAL = {
    "膠質瘤": "胶质瘤",
    "鼻竇": "鼻窦",
    "闌尾": "阑尾",
    "橈骨": "桡骨",
    "脛骨": "胫骨",
    "肺門淋巴結鬆": "肺门淋巴结松",
}


@pytest.mark.parametrize(("traditional", "simplified"), MEDICAL.items())
def test_traditional_characters_of_medical_words_are_read_as_simplified(traditional: str, simplified: str) -> None:
    assert scores("strict", simplified, traditional)["exact_match"].value == 1
