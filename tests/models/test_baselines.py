"""Text-only baselines (majority, lookup) and their engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.cli.config import build, load_option
from evalkit.core.errors import DataError
from evalkit.core.types import Generation, Prediction, Request, Sample
from evalkit.engines.baseline import BaselineEngine
from evalkit.models.text_only_baselines import Lookup, Majority, leading_words, most_frequent
from evalkit.scoring.aggregate import RunProvenance, score_all, tabulate
from evalkit.tasks.path_vqa import PathVqa
from evalkit.tasks.slake import Slake
from evalkit.tasks.vqa_rad import VqaRad


def train(*rows: tuple[str, str, str | None]) -> list[Sample]:
    return [
        Sample(
            id=str(k), image_id="i", question=question, references=(answer,), tags={"answer_type": kind} if kind else {}
        )
        for k, (question, answer, kind) in enumerate(rows)
    ]


ROWS = train(
    ("Is it big?", "Yes", "CLOSED"),
    ("is it  BIG?", "no", "CLOSED"),
    ("Is it big?", "NO", "CLOSED"),
    ("Is it red?", "yes", "CLOSED"),
    ("Is it blue?", "yes ", "CLOSED"),
    ("What is this?", "CT", "OPEN"),
    ("What is that?", "ct", "OPEN"),
)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["a"], "a"),
        (["b", "a"], "b"),
        (["a", "b", "b"], "b"),
        (["b", "a", "a", "b"], "b"),
        (["No", "yes", "NO  ", " no"], "No"),
        (["None", "", "none"], "None"),
    ],
)
def test_the_most_frequent_answer_has_its_first_spelling_and_ties_go_to_the_first(answers, expected):
    assert most_frequent(answers) == expected


@given(st.lists(st.sampled_from(["a", "A", "b", " b", "c"]), min_size=1))
def test_no_answer_is_more_frequent_than_the_most_frequent(answers):
    folded = [a.strip().lower() for a in answers]
    best = most_frequent(answers)
    assert best in answers
    assert all(folded.count(best.strip().lower()) >= folded.count(f) for f in folded)


def test_majority_answers_by_type_or_overall_without_a_type():
    fitted = Majority().fit(ROWS)
    assert fitted.answer("anything", "OPEN") == "CT"
    assert fitted.answer("anything", "CLOSED") == "Yes"
    assert fitted.answer("anything", None) == fitted.answer("else", "OTHER") == "Yes"


def test_lookup_falls_back_from_the_question_to_its_first_two_words_to_overall():
    fitted = Lookup().fit(ROWS)
    assert fitted.answer("IS IT   big?", None) == "no"
    assert fitted.answer("Is it green?", None) == "Yes"
    assert fitted.answer("What is there?", None) == "CT"
    assert fitted.answer("Where?", None) == fitted.answer("", None) == "Yes"
    assert fitted.answer("What is there?", "CLOSED") == fitted.answer("What is there?", "OPEN")


def test_a_falsy_looking_answer_is_still_an_answer():
    fitted = Lookup().fit(train(("Q a?", "0", None), ("Q b?", "x", None), ("Q c?", "x", None)))
    assert fitted.answer("Q a?", None) == "0"


def test_at_most_two_leading_words_are_used():
    assert [leading_words(q) for q in ("", "Is", " Is  THE lung", "Is it?")] == ["", "is", "is the", "is it?"]


@pytest.mark.parametrize("baseline", [Majority(), Lookup()])
def test_an_empty_train_split_is_refused(baseline):
    with pytest.raises(DataError, match="no rows"):
        baseline.fit([])


def request(row: str, question: str, kind: str | None) -> Request:
    return Request(
        sample_id=row, image_id="i", question=question, answer_type=kind, messages=(), images=(), image_digests=(),
        generation=Generation(max_new_tokens=1), checkpoint="c",
    )  # fmt: skip


def test_the_engine_answers_every_request_once_in_order_with_its_fingerprint(monkeypatch):
    monkeypatch.setattr(BaselineEngine, "chunk", 3)
    engine = BaselineEngine(baseline=Lookup().fit(ROWS), model="lookup", trained_on="sha")
    requests = [request(str(k), "What is this?" if k % 2 else "Is it big?", None) for k in range(8)]
    chunks = list(engine.generate(requests))
    assert [len(c) for c in chunks] == [3, 3, 2]
    answers = [p for c in chunks for p in c]
    assert [(p.sample_id, p.fingerprint) for p in answers] == [(r.sample_id, r.fingerprint) for r in requests]
    assert [p.text for p in answers] == ["no", "CT"] * 4
    assert list(engine.generate([])) == []
    assert engine.needs_images is False


def test_the_engines_identity_depends_on_the_model_and_the_train_data():
    made = [(m, t) for m in ("lookup", "majority") for t in ("a", "b")]
    identities = {BaselineEngine(baseline=Lookup(), model=m, trained_on=t).identity for m, t in made}
    assert len(identities) == 4
    assert BaselineEngine(baseline=Lookup(), model="x", trained_on="t").metadata()["trained_on"] == "t"


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    ("task", "folder", "settings", "closed", "recall"),
    [
        (PathVqa, "pathvqa/hf", {"closed_rule": "yesno"}, 81.8, 15.3),
        (Slake, "slake", {}, 66.6, 52.6),
        (VqaRad, "vqa-rad/osf", {}, 52.2, 17.7),
    ],
)
def test_lookup_scores_on_the_real_sets(shared, task, folder, settings, closed, recall):
    data_set = task(name="t", path=str(shared / folder), **settings)
    loaded = data_set.load(images=False)
    fitted = Lookup().fit(data_set.load_train().samples)
    predictions = [Prediction(sample_id=s.id, text=fitted.answer(s.question, s.answer_type)) for s in loaded.samples]
    protocol = build(load_option("protocol", "llava-med"), "protocol")
    scores = score_all(loaded.samples, predictions, [protocol])
    rows = tabulate(loaded.samples, scores, [protocol], RunProvenance(model="lookup", task=loaded))
    found = {r.metric: r for r in rows if r.slice == "all"}
    assert round(100 * found["closed_accuracy"].value, 1) == closed
    assert round(100 * found["open_recall"].value, 1) == recall
    assert found["closed_accuracy"].n + found["open_recall"].n == len(loaded.samples)


def choice_row(number: int, question: str, gold: tuple[str, ...], choices: tuple[str, ...] = ("CT", "MRI", "PET")):
    tags = {"answer_type": "CHOICE"}
    return Sample(id=f"c{number}", image_id="i", question=question, references=gold, choices=choices, tags=tags)


CHOICES = [
    choice_row(0, "Which scan?", ("MRI",)),
    choice_row(1, "Which plane?", ("axial",), ("coronal", "axial")),
    choice_row(2, "Which organ?", ("CT",)),
]


def test_majority_answers_multiple_choice_with_the_most_frequent_letter_and_others_as_before():
    fitted = Majority().fit([*ROWS, *CHOICES])
    assert fitted.answer("anything", "CHOICE") == "B"
    assert (fitted.answer("", "OPEN"), fitted.answer("", "CLOSED"), fitted.answer("", None)) == ("CT", "Yes", "Yes")
    assert fitted.overall == Majority().fit(ROWS).overall
    assert Majority().fit(CHOICES).answer("anything", "CHOICE") == "B"
    several = [choice_row(k, "Which?", ("CT", "PET")) for k in range(2)]
    assert Majority().fit([*several, CHOICES[0]]).answer("Which?", "CHOICE") == "A, C"


def test_lookup_answers_multiple_choice_with_the_text_of_the_same_question_else_with_the_letter():
    fitted = Lookup().fit([*ROWS, *CHOICES])
    assert fitted.answer("which organ?", "CHOICE") == "CT"
    assert fitted.answer("Which other?", "CHOICE") == "B"
    assert Lookup().fit(ROWS).answer("Which other?", "CHOICE") == "Yes"
