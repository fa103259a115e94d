"""Golden vectors of the published readings of multiple-choice answers: all produced by the authors' own functions."""

from __future__ import annotations

import pytest

from evalkit.core.types import CHOICE, Prediction
from evalkit.scoring.golds import check_golds, letter_golds, uncounted_rows
from tests.support.protocols import protocol, row

NAMES = (
    "choice-mmmu", "choice-mmmu-pro", "choice-lmms-eval", "choice-medevalkit-mmmu", "choice-lmms-eval-extract",
    "choice-lmms-eval-filter", "choice-vlmevalkit", "choice-evalscope", "choice-medevalkit",
)  # fmt: skip
OPTIONS = ("CT", "MRI", "Pleural effusion", "A small pleural effusion")
# Answer, then the letter that each reads: ? is MMMU's random draw, - no option.
READ = [
    ("", "? ? ? ? - - - - A"),
    (".", "? ? ? ? - - - - A"),
    ("B", "B B B B B - B B B"),
    ("b", "? ? ? ? - - - - B"),
    ("(B)", "B B B B B B B B B"),
    ("B.", "B B B B B - B B B"),
    ("**B**", "? ? ? ? B - B B B"),
    ("B) MRI", "? ? ? ? B B B - B"),
    ("B. MRI", "? B B ? B B B - B"),
    ("B because of the bright fat here", "B B B B B - - B B"),
    ("option B", "B B B B B - B B C"),
    ("Option B is correct", "B B B B B A B B A"),
    ("A or B", "B B B B A - - B A"),
    ("A, not B", "B B B B A - - B A"),
    ("AB", "? B B ? B - - B A"),
    ("The answer is B", "B B B B B - B B B"),
    ("The answer is B.", "B B B B B - B B B"),
    ("The correct answer is **B**. Fat is bright here as in the other one", "A A A A B A B - D"),
    ("Answer: B", "B B B B B B B B B"),
    ("ANSWER: B", "B B B B B B B B B"),
    ("ANSWER: (B)", "B B B B B B B B B"),
    ("Answer: B. MRI", "? B B ? B B B B B"),
    ("\\boxed{B}", "? ? ? B B - B B B"),
    ("<answer>B</answer>", "? ? ? B B - - B B"),
    ("E", "? ? ? ? - - - - C"),
    ("A lesion", "A A A A A - A A C"),
    ("A pleural effusion", "A A A A A C A A C"),
    ("A small pleural effusion", "A A A A A D A A D"),
    ("Pleural effusion", "? ? ? ? - C C - C"),
    ("mri", "? ? ? ? - B B - B"),
    ("It is an MRI", "? ? ? ? - B B - B"),
    ("The image is an MRI of the brain", "B B B B - B B - D"),
    ("I do not know, maybe CT", "A A A A C A A - A"),
    ("Cannot determine the answer", "? ? ? ? C - - C C"),
    ("DICOM", "? ? ? ? C - - - A"),
    ("I think B", "B B B B B - B B A"),
    ("答案：B", "? B B ? B - - B B"),
    ("选B", "? B B ? B - - B B"),
    ("B\n\nMRI shows soft tissue in detail", "B B B B B B B - B"),
    ("A. CT\nB. MRI\nAnswer: B", "B B B B A B - B A"),
    ("so it must be: B", "B B B B B B B B D"),
]


def score(name, answer, gold="MRI", options=OPTIONS, **settings):
    sample = row(gold, CHOICE, choices=options)
    (found,) = protocol(name, **settings).score(sample, Prediction(sample_id="1", text=answer))
    return found


@pytest.mark.parametrize(("answer", "letters"), READ, ids=lambda case: repr(case)[:40])
def test_an_answer_is_read_as_by_each_authors_code(answer: str, letters: str) -> None:
    found = {}
    for name in NAMES:
        values = [score(name, answer, gold).value for gold in OPTIONS]
        right = [letter for letter, value in zip("ABCD", values, strict=True) if value == 1]
        found[name] = "?" if values == [0.25] * 4 else "".join(right) or "-"
    assert found == dict(zip(NAMES, letters.split(), strict=True))


def test_the_random_fallback_scores_its_expected_value_and_says_so() -> None:
    for name in NAMES[:4]:
        found = score(name, "no idea", ("CT", "MRI"), ("CT", "MRI", "PET"))
        assert (found.value, found.extracted) == (2 / 3, "random")
        assert "drawn" not in found.note
        assert "the authors draw one at random, scored as the expected value 2/3" in found.note
        assert protocol(name).settings()["fallback"] == "expected-random"


def test_a_guess_by_likeness_or_by_the_last_capital_is_marked_as_one() -> None:
    assert score("choice-medevalkit", "").note == "guess: the option most alike by difflib"
    assert score("choice-evalscope", "a DICOM of the Brain").note == "guess: the last capital letter of the answer"
    assert score("choice-medevalkit", "B").note == score("choice-evalscope", "ANSWER: B").note == ""


@pytest.mark.parametrize(
    ("answer", "value"),
    [("ANSWER: A, B", 1), ("ANSWER: AB", 1), ("ANSWER: B A", 1), ("ANSWER: A", 0), ("ANSWER: A, B, C", 0), ("B", 0)],
)
def test_evalscope_wants_the_same_set_where_several_options_are_right(answer: str, value: float) -> None:
    assert score("choice-evalscope", answer, ("CT", "MRI")).value == value


def test_evalscope_in_chinese_reads_the_chinese_mark_alone() -> None:
    assert [score("choice-evalscope", "ANSWER: b 答案：B C", language=x).extracted for x in ("en", "zh")] == ["C", "B"]


def test_the_form_in_which_medevalkit_writes_its_options_decides_what_is_alike() -> None:
    found = [score("choice-medevalkit", "a: ct", options=("MRI", "CT"), written=w).extracted for w in
             ("{letter}. {option}", " {letter}:{option} ")]  # fmt: skip
    assert found == ["B", "B"]


def test_rows_with_several_right_options_are_named_where_the_authors_know_one() -> None:
    sample = row(("CT", "MRI"), CHOICE, choices=OPTIONS)
    for name in ("choice-vlmevalkit", "choice-medevalkit", "choice-lmms-eval-filter", "choice-lmms-eval-extract"):
        assert protocol(name).score(sample, Prediction(sample_id="1", text="A")) == []
        (note,) = uncounted_rows([sample], [protocol(name)])
        assert note.startswith(f"{name} does not count 1 of 1 multiple-choice rows (1 because several of its options")


def test_a_row_that_is_no_choice_has_no_score_and_an_error_is_no_value() -> None:
    for name in (*NAMES, "choice-strict"):
        assert (
            protocol(name).score(row("yes", "CLOSED", choices=("yes", "no")), Prediction(sample_id="1", text="A")) == []
        )
        (failed,) = protocol(name).score(row("MRI", CHOICE, choices=OPTIONS), Prediction(sample_id="1", error="boom"))
        assert failed.value is None
        assert "boom" in failed.reason


def test_protocols_that_read_no_letters_say_that_they_leave_choice_rows_out() -> None:
    choice, open_row = row("A", CHOICE, choices=("A", "B")), row("lung")
    names = ("llava-med", "strict", "exact-match", "lmms-eval", "huatuogpt-vision")
    for name in names:
        assert protocol(name).score(choice, Prediction(sample_id="1", text="A")) == []
    chosen = [protocol(name) for name in names]
    assert uncounted_rows([open_row], chosen) == []
    (note,) = uncounted_rows([choice, open_row], [*chosen, protocol("choice-strict")])
    assert note == (
        "llava-med, strict, exact-match, lmms-eval, huatuogpt-vision do not score the 1 multiple-choice rows; "
        "choice-strict does"
    )
    (alone,) = uncounted_rows([choice], [protocol("strict")])
    assert alone.startswith("strict does not score the 1 multiple-choice rows")
    assert "add protocol=choice-strict" in alone


def test_an_option_that_a_normaliser_empties_is_refused_only_by_protocols_that_score_the_row() -> None:
    choice = row("A", CHOICE, choices=("A", "B"))
    check_golds([choice], [protocol("strict"), protocol("llava-med"), protocol("choice-strict")], "here")
    assert letter_golds([choice], [protocol("llava-med"), protocol("choice-medevalkit")]) == []
