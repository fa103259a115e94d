"""Prompt variants and the options that a question offers."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.cli.config import build, load_option, protocols_for
from evalkit.core.errors import ConfigError
from evalkit.core.types import ImagePlace, Prediction, Sample
from evalkit.tasks.path_vqa import PathVqa
from evalkit.tasks.prompts import (
    LETTERS,
    NUMBERS,
    check_prompt,
    options_in,
    options_note,
    prompt_id,
    render,
    unlisted_note,
)
from evalkit.tasks.slake import Slake
from evalkit.tasks.vqa_rad import VqaRad

YN = ("yes", "no")

OFFERED = [
    # Degenerate: nothing, only marks, only the word itself.
    ("", ()),
    ("   ", ()),
    ("?", ()),
    ("or", ()),
    ("or or or", ()),
    ("Is", YN),
    ("Is it or?", YN),
    ("Is or", YN),
    (", or ,", ()),
    ("{} or {0}", ()),
    # Nothing offered.
    ("What organ is this?", ()),
    ("Where is the lesion?", ()),
    ("How many lungs are shown?", ()),
    ("Island of tissue: what is it?", ()),
    ("What is seen more often, e.g. in the elderly?", ()),
    # An "or" inside what a what-question asks about is no choice.
    ("What shows masses or nodules of calcium salt?", ()),
    ("What test or procedure might reveal the diagnosis?", ()),
    ("Where are the masses or nodules?", ()),
    # Yes or no.
    ("Is there a mass?", YN),
    ("is there evidence of an aortic aneurysm", YN),
    ("Does the picture contain liver?", YN),
    ("In this image, is the liver enlarged?", YN),
    ("Isn't the heart too big?", YN),
    ("Evidence of hemorrhage in the kidneys?", YN),
    ("Any abnormal findings in the lower lung fields?", YN),
    ("Any evidence of epidural or subdural hematoma?", YN),
    ("Is there a mass or a nodule?", YN),
    ("Does the liver show an enhancing mass or lesion?", YN),
    ("Is a pneumonia or pleural effusion seen in this image?", YN),
    ("Does this image use contrast or not?", YN),
    # Two, of which the second may share its noun with the first.
    ("Is the lesion on the left or right?", ("left", "right")),
    ("Is the lesion on the left or right side of the brain?", ("left", "right")),
    ("Is the gastric bubble shown on the left or right side of the patient?", ("left", "right")),
    ("Is the colon more prominent on the patient's right or left side?", ("right", "left")),
    ("Is the lesion seen on the left or right?", ("left", "right")),
    ("Is this a CT or an MRI?", ("CT", "MRI")),
    ("Is this an MRI or a CT scan?", ("MRI", "CT scan")),
    ("Was a CT or MRI used to take the above image?", ("CT", "MRI")),
    ("Is this an AP or PA film?", ("AP", "PA")),
    ("Is this a singular or multilobulated lesion?", ("singular", "multilobulated")),
    ("Is the patient a female or male?", ("female", "male")),
    ("Is the heart size in this image smaller or larger than if it was taken AP?", ("smaller", "larger")),
    ("The small bubbles of air seen in the lumen are normal or abnormal?", ("normal", "abnormal")),
    ("Is this a T1 weighted or T2 weighted MRI image?", ("T1", "T2")),
    ("Was this a contrast CT or a non-contrast CT?", ("contrast", "non-contrast")),
    ("Is the CSF enhanced or non enhanced?", ("enhanced", "non enhanced")),
    ("Does this CT have contrast or no contrast?", ("contrast", "no contrast")),
    ("Was this image taken with or without contrast?", ("with contrast", "without contrast")),
    ("Is this MRI with contrast or without contrast?", ("with contrast", "without contrast")),
    # Of these exactly one holds, even after "is there" and "seen".
    ("Is there hypoinflation or hyperinflation of the lung", ("hypoinflation", "hyperinflation")),
    ("Are the small bubbles of air seen normal or abnormal?", ("normal", "abnormal")),
    ("Is the pathology seen hyperintense or hypointense in nature?", ("hyperintense", "hypointense")),
    # After a comma the whole piece is an option.
    ("Which is bigger in this image, lung or heart?", ("lung", "heart")),
    ("Which is bigger in this image,liver or  right kidney ?", ("liver", "right kidney")),
    ("Which plane is the image scanned, transverse plane or coronal plane?", ("transverse plane", "coronal plane")),
    ("Which is the biggest in this image, lung,heart or liver?", ("lung", "heart", "liver")),
    ("Where is the heart in this image,left,top or upper left?", ("left", "top", "upper left")),
    ("Which type of modality is shown about this image, MRI, CT or X-Ray?", ("MRI", "CT", "X-Ray")),
    ("Is this a T1 weighted, T2 weighted, or FLAIR image?", ("T1 weighted", "T2 weighted", "FLAIR")),
    ("Is this image modality T1, T2, or FLAIR?", ("T1", "T2", "FLAIR")),
    ("Are pleural opacities on the left, right, or both sides of the lung?", ("left", "right", "both")),
    ("What is denser, the lesion or the surrounding tissue?", ("lesion", "surrounding tissue")),
    # One option twice is no choice.
    ("Is it left or left?", YN),
    ("Is it Left or left?", YN),
    # Known limits: what the choice is is not to be had from the words alone.
    ("Is the pathologic part of this image the small bowel or colon?", ("bowel", "colon")),
    ("Are there multiple or just 1 metastatic focus?", YN),
    # Chinese.
    ("这是什么?", ()),
    ("图像中的主要器官是什么?", ()),
    ("肺是怎么了", ()),
    ("这张图像是关于腹部么?", ("是的", "不是")),
    ("肺是异常的吗？", ("是的", "不是")),
    ("这张图片看起来是否正常?", ("是的", "不是")),
    ("图片中包含肝脏吗?", ("包含", "不包含")),
    ("在这张图片中,左上肺可以观察到肺不张吗?", ("可以", "不可以")),
    ("图中有没有器官可以被用于呼吸?", ("有", "没有")),
    ("这张图像里有肺吗?", ("有", "没有")),
    ("图中异常是高密度还是低密度?", ("高密度", "低密度")),
    ("图中哪侧的脑半球是异常的,左侧还是右侧?", ("左侧", "右侧")),
    ("这张图像显示的是哪种类型的成像,核磁共振、CT还是X光?", ("核磁共振", "CT", "X光")),
    ("图中肾脏和肝脏哪个更大?", ("肾脏", "肝脏")),
    ("图中肺、心脏和肝脏哪个更大?", ("肺", "心脏", "肝脏")),
    ("肺或者心脏哪个是异常的?", ("肺", "心脏")),
    ("哪个器官最大?", ()),
    ("还是", ()),
]


@pytest.mark.parametrize(("question", "options"), OFFERED)
def test_a_question_offers_these_options(question, options):
    assert options_in(question) == options


QUESTIONS = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(
            ["is", "there", "a", "or", ",", "not", "left", "right", "what", "T1", "weighted", "with", "without", "no",
             "还是", "吗", "么", "什么", "和", "哪个", "、", "?", ".", ":", "an", "{}", "\t", "non"]
        )
    ).map(" ".join),
)  # fmt: skip


@given(QUESTIONS)
def test_options_are_none_or_at_least_two_different_ones_for_any_text(question):
    options = options_in(question)
    assert len(options) != 1
    assert len({o.lower() for o in options}) == len(options)
    assert all(o == o.strip() and o for o in options)


@given(QUESTIONS, st.sampled_from(["plain", "short", "options"]))
def test_every_prompt_starts_with_the_question_whatever_it_says(question, prompt):
    text = render(prompt, question, options_in(question))
    assert text.startswith(question)
    assert prompt != "plain" or text == question


@given(QUESTIONS)
def test_case_and_space_around_a_question_do_not_change_what_it_offers(question):
    assert options_in(f"  {question}\n") == options_in(question)


def test_options_come_from_the_question_alone():
    assert list(inspect.signature(options_in).parameters) == ["question"]
    assert list(inspect.signature(render).parameters) == ["prompt", "question", "choices", "is_choice"]


def test_a_message_does_not_depend_on_answer_label_or_choices():
    task = VqaRad(name="v", path="nowhere", prompt="options")
    samples = [
        Sample(id="1", image_id="i", question="Is it left or right?", references=(gold,), choices=choices, tags=tags)
        for gold, choices, tags in [
            ("left", ("left", "right"), {"answer_type": "CLOSED"}),
            ("Right", ("yes", "no"), {"answer_type": "OPEN"}),
            ("YES", (), {}),
        ]
    ]
    assert len({task.messages(s) for s in samples}) == 1
    ((message,),) = {task.messages(s) for s in samples}
    text = "Is it left or right? Please choose from the following two options: [left, right]"
    assert message.content == (ImagePlace(0), text)


def test_the_variants_are_these_texts():
    assert render("plain", "Q?", YN) == "Q?"
    assert render("short", "Q?", YN) == "Q?\nAnswer the question using a single word or phrase."
    assert render("short", "是吗?", YN) == "是吗?\n请用一个词或短语回答。"
    assert render("options", "Q?", YN) == "Q? Please choose from the following two options: [yes, no]"
    assert render("options", "是吗?", ("是的", "不是")) == "是吗? 请从以下选项中选择：[是的, 不是]"
    assert render("options", "Q?", ()) == "Q?"


MODALITY = ("CT", "MRI", "PET")


def test_the_variants_for_multiple_choice_are_these_texts():
    ask = partial(render, question="Which?", choices=MODALITY, is_choice=True)
    assert ask("plain") == "Which?"
    assert ask("letters") == "Which?\nA. CT\nB. MRI\nC. PET\n" + LETTERS
    assert ask("numbers") == "Which?\n1. CT\n2. MRI\n3. PET\n" + NUMBERS
    assert ask("options") == "Which?\n- CT\n- MRI\n- PET\nAnswer with the text of one of these options."
    assert "two options" not in ask("options")
    chinese = partial(render, question="哪个?", choices=("左", "右", "中"), is_choice=True)
    assert chinese("numbers") == "哪个?\n1. 左\n2. 右\n3. 中\n请直接回答所选项的编号。"
    assert chinese("options") == "哪个?\n- 左\n- 右\n- 中\n请回答其中一个选项的内容。"
    assert render("numbers", "Which?", ()) == "Which?"
    assert render("letters", "Which?", tuple(map(str, range(26)))).splitlines()[26] == "Z. 25"


def test_only_the_wording_that_a_variant_has_for_multiple_choice_changes_its_id():
    known = ("plain", "short", "options", "letters", "numbers")
    assert [p for p in known if prompt_id(p) != prompt_id(p, has_choices=True)] == ["options"]
    assert len({prompt_id(p) for p in known}) == 5


def test_a_variant_that_lists_no_options_says_so_for_multiple_choice_alone():
    assert [p for p in ("plain", "short", "options", "letters", "numbers") if unlisted_note(p, 3)] == ["plain", "short"]
    assert unlisted_note("short", 0) == []
    assert options_note("numbers", [YN, ()]) == [
        "prompt numbers: 1 of 2 questions list numbered options, the others are asked as they are"
    ]


@pytest.mark.parametrize(("prompt", "form"), [("letters", "{letter}"), ("numbers", "{number}"), ("options", "{text}")])
def test_the_answer_that_a_prompt_asks_for_is_read_as_its_option(prompt, form):
    settings = protocols_for({"choice-strict": load_option("protocol", "choice-strict")}, {"prompt": prompt})
    chosen = build(settings["choice-strict"], "choice-strict")
    for k, (letter, text) in enumerate(zip("ABC", MODALITY, strict=True)):
        sample = Sample(id="1", image_id="i", question="Which?", references=(text,), choices=MODALITY,
                        tags={"answer_type": "CHOICE"})  # fmt: skip
        answer = form.format(letter=letter, number=k + 1, text=text)
        (found,) = chosen.score(sample, Prediction(sample_id="1", text=answer))
        assert (found.value, found.extracted) == (1.0, letter)
    assert chosen.settings()["labels"] == ("numbers" if prompt == "numbers" else "letters")


def test_every_variant_has_its_own_id_and_an_unknown_one_is_refused():
    ids = {prompt_id(p) for p in ("plain", "short", "options")}
    assert {i.partition("@")[0] for i in ids} == {"plain", "short", "options"}
    assert len({i.partition("@")[2] for i in ids}) == 3 and all(len(i.partition("@")[2]) == 8 for i in ids)
    for refused in (check_prompt, prompt_id, lambda p: render(p, "Q?", ())):
        with pytest.raises(ConfigError, match=r"task\.prompt=option[. ].*'options'"):
            refused("option")


def covered(samples: tuple[Sample, ...]) -> tuple[int, int]:
    closed = [s for s in samples if s.answer_type == "CLOSED"]
    return sum(s.references[0].lower() in [c.lower() for c in s.choices] for s in closed), len(closed)


@pytest.mark.data
@pytest.mark.parametrize(
    ("task", "folder", "settings", "at_least", "of"),
    [
        (VqaRad, "vqa-rad/osf", {}, 269, 272),
        (Slake, "slake", {}, 415, 416),
        (Slake, "slake", {"language": "zh"}, 382, 420),
        (PathVqa, "pathvqa/hf", {"closed_rule": "yesno"}, 3355, 3362),
    ],
)
def test_the_real_closed_answers_are_among_the_options(shared, task, folder, settings, at_least, of):
    loaded = task(name="t", path=str(shared / folder), **settings).load(images=False)
    hit, n = covered(loaded.samples)
    assert n == of and hit >= at_least


@pytest.mark.data
def test_real_open_questions_are_hardly_ever_offered_options_that_lack_the_answer(shared):
    for task, folder, at_most in ((VqaRad, "vqa-rad/osf", 1), (Slake, "slake", 0)):
        loaded = task(name="t", path=str(shared / folder)).load(images=False)
        wrong = {
            s.question
            for s in loaded.samples
            if s.answer_type == "OPEN" and (o := options_in(s.question)) and s.references[0].lower() not in o
        }
        assert len(wrong) <= at_most, wrong
