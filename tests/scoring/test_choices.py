"""Reading of multiple-choice answers: the stated option, and nothing that is a guess."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.types import CHOICE, LETTERS, Prediction
from evalkit.scoring.choices import read_choice
from tests.support.protocols import protocol, row

OPTIONS = ("CT", "MRI", "Ultrasound", "X-ray")
ANATOMY = ("lung", "left lung", "The left lung lobe", "a lesion", "None of the above")
GERMS = ("E. coli", "S. aureus", "B. fragilis", "C. difficile", "Hepatitis B")

# Answers, and the letters that they state; "" where they state none or two.
DEGENERATE = [
    ("", ""), ("   \n", ""), (".", ""), ("?", ""), ("**", ""), ("()", ""), ("\\boxed{}", ""),
    ("<answer></answer>", ""),
    ("A or B", ""), ("A, not B", ""), ("B, not A", ""), ("A B", ""), ("AB", ""), ("A, C", ""), ("A and C", ""),
    ("A/B", ""), ("(A) or (B)", ""), ("Both A and B", ""), ("either A or B", ""), ("A和B", ""), ("A、B", ""),
    ("B?", ""), ("Is it B?", ""), ("MRI?", ""), ("Option B or C", ""), ("not B", ""), ("The answer is not B", ""),
    ("E", ""), ("Z", ""), ("(F)", ""), ("Answer: E", ""), ("5", ""), ("2", ""), ("I", ""),
    ("I think ...", ""), ("I think", ""), ("I see a mass", ""), ("I", ""), ("A lesion", ""), ("a", "A"),
    ("A mass is seen in the liver", ""), ("The answer is a", ""), ("It is a", ""), ("The answer is A mass", ""),
    ("I cannot answer this", ""), ("None of the above", ""), ("The answer is clear", ""), ("yes", ""),
    ("CT or MRI", ""), ("CT MRI", ""), ("CT, MRI", ""), ("CT and MRI", ""), ("The answer is CT or MRI", ""),
    ("not CT but MRI", ""), ("MRI scan", ""), ("an MRI of the brain shows a CT", ""),
]  # fmt: skip
LETTER = [
    ("B", "B"), ("b", "B"), ("B.", "B"), ("(B)", "B"), ("(b)", "B"), ("b)", "B"), ("[B]", "B"), ("{B}", "B"),
    ("'B'", "B"), ('"B"', "B"), ("**B**", "B"), ("*B*", "B"), ("`B`", "B"), ("__B__"[2:3], "B"), (" B \n", "B"),
    ("# B", "B"), ("B!", "B"), ("B:", "B"), ("B,", "B"), ("B</s>", "B"), ("Ｂ", "B"), ("（Ｂ）", "B"), ("Ｂ。", "B"),
    ("\\boxed{B}", "B"), ("\\boxed{\\text{B}}", "B"), ("$\\boxed{B}$", "B"), ("$B$", "B"), ("\\(B\\)", "B"),
    ("\\boxed{b}", "B"), ("boxed{B}", "B"), ("<answer>B</answer>", "B"), ("<answer> B. MRI </answer>", "B"),
    ("<answer>B", "B"), ("Answer: B", "B"), ("ANSWER: B", "B"), ("Answer:B", "B"), ("**Answer:** B", "B"),
    ("Answer = B", "B"), ("Answer\nB", "B"), ("answer: b", "B"), ("Final answer: (B)", "B"), ("answer is B", "B"),
    ("The answer is B", "B"), ("The answer is B.", "B"), ("The answer is: B", "B"),
    ("The correct answer is **B**.", "B"),
    ("The answer is B) MRI", "B"), ("The answer is (B) MRI.", "B"), ("The answer is B because of the contrast", "B"),
    ("The best option is B", "B"), ("My answer is B", "B"), ("The answer is option B", "B"),
    ("Answer: \\boxed{B}", "B"),
    ("Option B", "B"), ("option B", "B"), ("choice B", "B"), ("Option (B)", "B"), ("B is correct", "B"),
    ("Option B is the correct answer", "B"), ("I choose B", "B"), ("I would select B.", "B"), ("I think B", "B"),
    ("I think it is B", "B"), ("I think the answer is B", "B"), ("Assistant: B", "B"), ("It is B.", "B"),
    ("B. MRI", "B"), ("B) MRI", "B"), ("B: MRI", "B"), ("B - MRI", "B"), ("B MRI", "B"), ("(B) MRI", "B"),
    ("b. mri", "B"), ("B\nThe lesion is bright", "B"), ("B. The lesion is bright.", "B"),
    ("B, because it is bright", "B"),
    ("B. A mass is seen", "B"), ("It is bright.\n\nAnswer: B", "B"), ("A: no.\nB: yes.\nAnswer: B", "B"),
    ("The answer is not A. The answer is B.", "B"), ("Answer: B\nAnswer: B", "B"), ("Answer: A\nAnswer: B", ""),
    ("A\nAnswer: B", ""), ("答案：B", "B"), ("答案:B", "B"), ("答案是B", "B"), ("答案为 B。", "B"),
    ("正确答案是B", "B"),
    ("选B", "B"), ("选择B", "B"), ("我选择 B。", "B"), ("应选B", "B"), ("故选：B", "B"), ("答案：（Ｂ）", "B"),
    ("答案选B", "B"), ("B选项", "B"), ("选项B", "B"), ("正确选项是B", "B"), ("B是正确的", "B"), ("B超", ""),
    ("不是B", ""),
    ("答案：A或B", ""), ("Vitamin B", ""), ("B-cell lymphoma", ""), ("B12", ""), ("Type B", ""), ("T2", ""),
]  # fmt: skip
LETTER += [
    ("The answer is most likely B", "B"), ("B is the answer", "B"), ("B is the right option.", "B"),
    ("Answer - B", "B"),
    ("answer B", "B"), ('{"answer": "B"}', "B"), ("{'answer': 'B'}", "B"), ("Ans: B", "B"), ("Ans. B", "B"),
    ("- B", "B"),
    ("I am going with option B.", "B"), ("答案：B。MRI", "B"), ("B。MRI", "B"), ("B.MRI", "B"), ("E.coli", ""),
    ("I think the answer is A, but it may be B", ""), ("The answer is A or perhaps B", ""),
    ("B\n\nA is not right.", "B"),
    ("The answer B of this", ""), ("the answer a", ""), ("answer", ""), ("Answer -", ""),
    ("the answer and B-cells", ""),
]  # fmt: skip
TEXT = [
    ("MRI is the answer", "B"), ("An MRI is the correct answer.", "B"), ("MRI is the best scan", ""), ("- MRI", "B"),
    ("MRI", "B"), ("mri", "B"), ("MRI.", "B"), ("'MRI'", "B"), ("**MRI**", "B"), ("An MRI", "B"), ("the MRI.", "B"),
    ("Answer: MRI", "B"), ("The answer is MRI.", "B"), ("The answer is an MRI, because fat is bright", "B"),
    ("<answer>MRI</answer>", "B"), ("\\boxed{MRI}", "B"), ("答案：MRI", "B"), ("It is MRI.", "B"),
    ("I think it is an MRI", "B"),
    ("X-ray", "D"), ("x-ray.", "D"), ("The answer is X-ray", "D"),
    ("The answer is MRI. CT shows less.", ""), ("The image is an MRI of the brain", ""), ("MRI\nCT", ""),
    ("MRIs", ""),
    ("A. MRI", ""), ("B. CT", ""), ("B) CT", ""), ("The answer is B) CT", ""), ("B, CT", ""), ("Answer: B. CT", ""),
    ("B. MRI, not CT", "B"), ("Answer: CT\nAnswer: B", ""), ("Answer: MRI\nAnswer: B", "B"),
]  # fmt: skip
SEVERAL = [
    ("Option A or option B", ""), ("Option A and option B", ""), ("option A/option B", ""), ("not option B.", ""),
    ("Neither option A nor option B", ""), ("Option A rather than option B", ""), ("answer A or answer B", ""),
    ("All except option B", ""), ("Choice A or the choice B", ""), ("between option A and option B", ""),
    ("I hesitate between option A and option B. The answer is B.", "B"), ("Based on the image, option B", "B"),
    ("It is not A but option B", "B"), ("So option B", "B"), ("CT is wrong and the answer is B", "B"),
    ("B; alternatively C", ""), ("B, otherwise C", ""), ("B. MRI; alternatively D", ""),
    ("The answer is B, alternatively A", ""),
    # a capital in a line of its own is a letter, before a text in the same line it may be an article
    ("A\nMRI", ""), ("A\n\nMRI", ""), ("(A)\nX-ray", ""), ("A\nCT", "A"), ("B\nMRI", "B"), ("Answer:\nA\nMRI", "A"),
    ("A MRI", "B"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), DEGENERATE + LETTER + TEXT + SEVERAL, ids=repr)
def test_what_an_answer_states(answer: str, expected: str) -> None:
    reading = read_choice(answer, OPTIONS)
    assert "".join(reading.labels) == expected
    assert bool(reading.reason) == (not expected)
    assert bool(reading.rule) == bool(expected)


@pytest.mark.parametrize(
    ("options", "answer", "expected"),
    [
        # an option's text in another one, an article in it, a sentence as an option
        (ANATOMY, "lung", "A"), (ANATOMY, "left lung", "B"), (ANATOMY, "the left lung", "B"),
        (ANATOMY, "The lung.", "A"),
        (ANATOMY, "left lung lobe", "C"), (ANATOMY, "Answer: left lung lobe", "C"), (ANATOMY, "A. left lung", ""),
        (ANATOMY, "B. left lung", "B"), (ANATOMY, "C. The left lung lobe", "C"), (ANATOMY, "C. left lung lobe", "C"),
        (ANATOMY, "A lesion", "D"), (ANATOMY, "lesion", "D"), (ANATOMY, "D. A lesion", "D"),
        (ANATOMY, "none of the above", "E"),
        (ANATOMY, "lung lesion", ""), (ANATOMY, "left", ""),
        # names that begin like labels
        (GERMS, "E. coli", "A"), (GERMS, "Answer: E. coli", "A"), (GERMS, "E", "E"), (GERMS, "B. fragilis", "C"),
        (GERMS, "C. difficile", "D"), (GERMS, "A. E. coli", "A"), (GERMS, "Hepatitis B", "E"), (GERMS, "B", "B"),
        (GERMS, "D. melanogaster", ""), (GERMS, "S. aureus", "B"),
        # a short option that is a part of a word of another one
        (("Yes", "No", "Cannot be determined"), "No, Cannot be determined", ""),
        (("Yes", "No", "Cannot be determined"), "No, because it is dark", "B"),
        (("art", "heart", "liver"), "art, heart", ""), (("lung", "left lung"), "left lung, as it is dark", "B"),
        # options that are letters or numbers
        (("B", "A"), "B. A", "B"), (("B", "A"), "B) A", "B"), (("B", "A"), "B. B", ""),
        (("B", "A"), "A", ""), (("B", "A"), "C", ""), (("A", "B"), "A", "A"), (("B", "C", "D"), "D", "C"),
        (("2", "3", "4"), "2", "A"), (("2", "3", "4"), "3.", "B"), (("2", "3"), "2.5", ""), (("-5", "5"), "5", "B"),
        (("-5", "5"), "-5", "A"), (("+", "-"), "+", "A"), (("<5 mm", "5 mm", ">5 mm"), "5 mm", "B"),
        # options that differ in case or in an article alone
        (("Positive", "positive"), "positive", "B"), (("CT", "ct"), "Ct", ""),
        (("the mass", "a mass"), "a mass", "B"),
        (("the mass", "a mass"), "mass", ""), (("左肺", "右肺"), "右肺。", "B"), (("B超", "CT"), "B超", "A"),
        (("B超", "CT"), "选B", "B"), (("left, right", "left"), "Answer: left, right", "A"),
        (("mass (benign)", "mass"), "mass (benign).", "A"), (("mass (benign)", "mass"), "mass", "B"),
        (tuple("abcdefghij"), "I", "I"), (tuple(f"o{k}" for k in range(9)), "I think o1", "B"),
        (tuple(f"o{k}" for k in range(9)), "I think", ""), (tuple(f"o{k}" for k in range(9)), "I", "I"),
    ],
    ids=repr,
)  # fmt: skip
def test_options_that_look_like_letters_words_or_each_other(options, answer, expected) -> None:
    assert "".join(read_choice(answer, options).labels) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty answer"), ("  \n", "empty answer"), (".", "names none of the options"),
        ("A or B", "states A and B"),
        ("C. MRI", "states B and C"), ("CT or X-ray", "states A and D"), ("G", "names G, and the options are A to D"),
        ("Answer: A\nAnswer: D", "states A and D"), ("I cannot tell", "names none of the options"),
    ],
)  # fmt: skip
def test_an_unread_answer_has_its_reason(answer: str, reason: str) -> None:
    assert read_choice(answer, OPTIONS).reason == reason


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("2", "B"), ("2.", "B"), ("(2)", "B"), ("2. MRI", "B"), ("2) MRI", "B"), ("Answer: 2", "B"),
        ("Option 2", "B"),
        ("**2**", "B"), ("\\boxed{2}", "B"), ("答案：2", "B"), ("选2", "B"), ("２", "B"), ("MRI", "B"),
        ("1. MRI", ""),
        ("1 or 2", ""), ("12", ""), ("5", ""), ("0", ""), ("2.5", ""), ("2 cm", ""), ("B", ""), ("1, 2", ""),
        ("-2", ""),
    ],
)  # fmt: skip
def test_numbers_are_labels_where_the_prompt_numbered_the_options(answer: str, expected: str) -> None:
    assert "".join(read_choice(answer, OPTIONS, numbered=True).labels) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A, C", "AC"), ("A and C", "AC"), ("AC", "AC"), ("A、C", "AC"), ("C, A", "AC"), ("(A) and (C)", "AC"),
        ("Answer: A, C", "AC"), ("\\boxed{A, C}", "AC"), ("A. CT\nC. Ultrasound", "AC"), ("CT and ultrasound", "AC"),
        ("答案：AC", "AC"), ("A", "A"), ("A, B, C", "ABC"), ("A or C", ""), ("A, E", ""), ("AA", ""),
        ("CT or MRI", ""),
    ],
)  # fmt: skip
def test_several_options_are_read_where_several_are_right(answer: str, expected: str) -> None:
    assert "".join(read_choice(answer, OPTIONS, several=True).labels) == expected


def score(answer, gold="MRI", options=OPTIONS, name="choice-strict", **settings):
    sample = row(gold, CHOICE, choices=options)
    (found,) = protocol(name, **settings).score(sample, Prediction(sample_id="1", text=answer))
    return found


def test_choice_strict_scores_the_stated_option_and_leaves_guesses_unscored() -> None:
    assert [score(text).value for text in ("B", "MRI", "A", "CT", "A or B", "")] == [1, 1, 0, 0, None, None]
    assert score("C").extracted == "C"
    assert score("The answer is B").note == "a letter after an answer mark"
    assert [score("2", labels=labels).value for labels in ("letters", "numbers")] == [None, 1]


def test_all_right_options_must_be_named_and_no_other() -> None:
    gold = ("CT", "MRI")
    found = [score(text, gold).value for text in ("A, B", "AB", "CT and MRI", "A", "A, B, C", "A or B", "C")]
    assert found == [1, 1, 1, 0, 0, None, 0]


def test_every_letter_is_right_for_its_own_option_alone() -> None:
    options = tuple(f"finding {k}" for k in range(26))
    for gold in range(26):
        for form in ("{}", "({})", "{}.", "Answer: {}", "**{}**", "\\boxed{{{}}}", "答案：{}"):
            found = [score(form.format(letter), options[gold], options).value for letter in LETTERS]
            assert found == [float(k == gold) for k in range(26)], form


WORDS = [
    *LETTERS[:6],
    *OPTIONS,
    "a",
    "the",
    "answer",
    "is",
    "Answer:",
    "not",
    "or",
    "(",
    ")",
    ".",
    ",",
    "\n",
    "选",
    "I",
    "2",
]


@given(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join) | st.text(max_size=30))
def test_any_answer_is_read_as_options_of_the_row_or_has_a_reason(answer: str) -> None:
    for several in (False, True):
        reading = read_choice(answer, OPTIONS, several=several)
        assert bool(reading.labels) != bool(reading.reason)
        assert set(reading.labels) <= set(LETTERS[:4])
        assert several or len(reading.labels) <= 1


@given(st.text(alphabet="(){}[]ABC.,\n $*\\<>", max_size=400))
def test_no_answer_takes_long(answer: str) -> None:
    read_choice(answer * 5, OPTIONS)


@pytest.mark.few(24)
@pytest.mark.parametrize(
    "unit",
    ["\n", " ", "\t", "(", "the answer is ", "answer ", "correct ", "A. ", "A, ", "B\n", "MRI and ", "\\boxed{",
     "<answer>", "so ", "most likely ", "选", "$a", "#", ". ", "x", "\n \t", "option A ", "or option B ", "\u3000"],
)  # fmt: skip
@pytest.mark.parametrize("start", ["", "B"])
@pytest.mark.parametrize("several", [False, True])
def test_an_answer_that_repeats_itself_is_read_in_linear_time(unit: str, start: str, several: bool) -> None:
    started = time.process_time()
    read_choice(start + unit * (30_000 // len(unit)) + "x", OPTIONS, several=several)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("unit", ["\n", " ", "\n \t", "\u3000"], ids=repr)
@pytest.mark.parametrize("name", ["strict", "choice-strict"])
def test_long_blanks_inside_of_an_answer_change_nothing_and_take_no_time(name: str, unit: str) -> None:
    rows = {"strict": row("no", "CLOSED", "Is it normal?"), "choice-strict": row("CT", CHOICE, choices=OPTIONS)}
    answer = {"strict": "No{}it is not.", "choice-strict": "A{}because it is bright."}[name]
    started = time.process_time()
    long = protocol(name).score(rows[name], Prediction(sample_id="1", text=answer.format(unit * 20_000)))
    assert time.process_time() - started < 2
    short = protocol(name).score(rows[name], Prediction(sample_id="1", text=answer.format(unit)))
    assert [score.value for score in long] == [score.value for score in short]
