"""Join of answers to samples."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import Prediction, Sample
from evalkit.importers import Answer, AnswerFile, join, read_answers
from evalkit.tasks.base import LoadedTask
from tests.support.paths import SHARED


def sample(id, question="Is it?", *references, image="i"):
    return Sample(id=id, image_id=image, question=question, references=references or ("yes",))


def task(*samples, **order):
    orders = {name: tuple(ids) for name, ids in order.items()}
    return LoadedTask(
        name="toy", split="test", form="made", samples=samples, closed_rule="label", prompt="plain", order=orders
    )


def answers(*rows, path="answers.jsonl"):
    """rows: (id, question, reference, text)."""
    made = [Answer(row=i, id=a, question=q, reference=r, text=t) for i, (a, q, r, t) in enumerate(rows, 1)]
    return AnswerFile(path=path, format="plain", answers=tuple(made))


def texts(joined):
    return [p.text for p in joined.predictions]


def test_ids_join_whatever_the_order_of_the_rows():
    joined = join(answers(("b", None, None, "B"), ("a", None, None, "A")), task(sample("a"), sample("b")))
    assert (joined.by, texts(joined), joined.n_matched, joined.missing) == ("id", ["A", "B"], 2, ())
    assert any("could not be checked" in n for n in joined.notes)
    checked = answers(("b", "is it?", None, "B"), ("a", "Is  it?", None, "A"))
    assert join(checked, task(sample("a"), sample("b"))).notes == ()


def test_an_error_in_the_file_stays_an_error():
    file = AnswerFile(path="f", format="plain", answers=(Answer(row=1, id="a", error="null answer"),))
    assert join(file, task(sample("a"))).predictions == (Prediction(sample_id="a", error="null answer"),)


def test_missing_and_unmatched_are_refused_by_name_and_counted_when_allowed():
    file = answers(("a", None, None, "A"), ("x", None, None, "X"))
    ours = task(sample("a"), sample("b"), sample("c"), sample("d"))
    with pytest.raises(DataError) as e:
        join(file, ours)
    for part in (
        "1 answers belong to no sample: row 2 (id x)",
        "3 samples have no answer: b, c, d",
        "100.0% of the samples",
    ):
        assert part in str(e.value)
    joined = join(file, ours, max_unmatched=1.0)
    assert joined.predictions[1] == Prediction(sample_id="b", error="no answer in answers.jsonl", finish_reason="error")
    assert (joined.n_matched, joined.missing, [a.id for a in joined.unmatched]) == (1, ("b", "c", "d"), ["x"])
    with pytest.raises(DataError):
        join(file, ours, max_unmatched=0.99)


HF = task(
    *(sample(str(i), f"Question {i}?", f"gold {i}") for i in range(10)),
    hf=[str(i) for i in (0, 1, 5, 3, 2, 4, 9, 8, 7, 6)],
)


def numbered(order, questions=True):
    rows = [HF.samples[int(k)] for k in HF.order["hf"]] if order == "hf" else HF.samples
    return answers(
        *(
            (str(i), *((s.question.upper(), s.references[0]) if questions else (None, None)), f"to {s.id}")
            for i, s in enumerate(rows)
        )
    )


def test_row_numbers_of_another_order_are_refused_as_ids_and_joined_with_task_order():
    with pytest.raises(DataError, match=r"joined by id, 7 of 10 rows have another question.*use task\.order=hf"):
        join(numbered("hf"), HF)
    joined = join(numbered("hf"), HF, order="hf")
    assert joined.by == "order:hf" and texts(joined) == [f"to {i}" for i in range(10)]


def test_ids_are_refused_as_row_numbers_of_another_order():
    with pytest.raises(DataError, match=r"joined by order:hf, 7 of 10 rows"):
        join(numbered("osf"), HF, order="hf")


def test_ids_of_which_few_exist_are_not_used_as_ids():
    backwards = [str(i * 10) for i in reversed(range(10))]
    ours = task(*(sample(str(i * 10), f"Question {i}?") for i in range(10)), hf=backwards)
    rows = [(str(9 - i), f"question  {i}?", None, str(i)) for i in range(10)]
    with pytest.raises(DataError, match=r"Use task\.order=hf"):
        join(answers(*rows), ours)
    assert texts(join(answers(*rows), ours, order="hf")) == [str(i) for i in range(10)]
    assert join(answers(*rows), ours, by="question").by == "question"
    blind = answers(*((i, None, None, t) for i, _, _, t in rows))
    with pytest.raises(DataError, match=r"task\.order=hf may be needed"):
        join(blind, ours)
    beyond = answers(*((str(1000 + i), None, None, "x") for i in range(10)))
    with pytest.raises(DataError, match=r"its ids .* are not those of toy"):
        join(beyond, ours)


def test_a_reference_that_differs_is_a_mismatch_too():
    file = answers(("a", None, "no", "x"), ("b", None, "YES ", "y"))
    with pytest.raises(DataError, match="1 of 2 rows have another question or reference"):
        join(file, task(sample("a"), sample("b")))


def test_up_to_two_per_cent_of_reworded_rows_are_joined_with_a_note():
    ours = task(*(sample(f"s{i}", f"Question {i}?") for i in range(100)))

    def rows(n):
        return answers(*((f"s{i}", "reworded" if i < n else f"Question {i}?", None, "x") for i in range(100)))

    assert any("2 of 100 rows differ in text" in n for n in join(rows(2), ours).notes)
    with pytest.raises(DataError, match="3 of 100"):
        join(rows(3), ours)


def test_a_question_is_found_inside_a_longer_prompt():
    ours = task(sample("a", "Is it big?"), sample("b", "Where?", "left"))
    by_id = answers(
        ("b", "Where?\n<image>", None, "B"), ("a", "Is it big? Please choose from: [yes, no]\n<image>", None, "A")
    )
    assert texts(join(by_id, ours)) == ["A", "B"]
    no_id = AnswerFile(
        path="f", format="x", answers=tuple(Answer(row=a.row, question=a.question, text=a.text) for a in by_id.answers)
    )
    joined = join(no_id, ours)
    assert (joined.by, texts(joined)) == ("question", ["A", "B"])
    lines = answers(
        (None, "USER\nWhere?\nAnswer the question using a single word or phrase.", None, "B"),
        (None, "Is it big?", None, "A"),
    )
    assert texts(join(lines, ours)) == ["A", "B"]


def test_without_ids_question_and_reference_and_kth_duplicate_decide():
    ours = task(
        sample("a", "What is present?", "liver", image="1"),
        sample("b", "What is present?", "heart", image="2"),
        sample("c", "What is present?", "liver", image="3"),
        sample("d", "Is it?", image="3"),
    )
    file = answers(
        (None, "is it?", "Yes", "D"),
        (None, "what is  present?", "liver", "first"),
        (None, "what is present?", "liver", "second"),
        (None, "what is present?", "heart", "B"),
    )
    joined = join(file, ours)
    assert (joined.by, texts(joined)) == ("question", ["first", "B", "second", "D"])
    assert "2 of the 4 rows share the same question and reference" in joined.warnings[0]
    assert "id=NAME" in joined.warnings[0] and "for 2 of them the answers differ" in joined.warnings[0]


def test_equal_questions_with_different_gold_are_refused_without_references():
    ours = task(sample("a", "What?", "liver"), sample("b", "What?", "heart"))
    file = answers((None, "What?", None, "A"), (None, "What?", None, "B"))
    with pytest.raises(DataError, match="1 questions occur in toy more than once with different gold answers"):
        join(file, ours)
    assert texts(join(file, ours, by="question")) == ["A", "B"]
    alike = task(sample("a", "What?", "liver"), sample("b", "What?", "Liver"))
    assert texts(join(file, alike)) == ["A", "B"]


def test_a_second_run_in_a_file_without_ids_belongs_to_no_sample():
    file = answers((None, "Is it?", "yes", "A"), (None, "Is it?", "yes", "B"))
    with pytest.raises(DataError, match="1 answers belong to no sample: row 2"):
        join(file, task(sample("a")))


def test_any_of_several_references_finds_the_sample_once():
    ours = task(sample("a", "What?", "liver", "hepar"), sample("b", "What?", "heart"))
    file = answers((None, "What?", "heart", "B"), (None, "What?", "HEPAR", "A"))
    assert texts(join(file, ours)) == ["A", "B"]
    twice = answers((None, "What?", "liver", "A"), (None, "What?", "hepar", "A again"), (None, "What?", "heart", "B"))
    assert [a.text for a in join(twice, ours, max_unmatched=0.5).unmatched] == ["A again"]


def test_ids_that_name_images_join_within_the_image():
    ours = task(
        sample("1", "Categorise it.", "polyp", image="a.png"),
        sample("2", "Categorise it.", "polyp", image="b.png"),
        sample("3", "Categorise it.", "ulcer", image="b.png"),
    )
    file = answers(
        ("b.png", "categorise it.", "ulcer", "3"),
        ("b.png", "categorise it.", "polyp", "2"),
        ("a.png", "categorise it.", "polyp", "1"),
    )
    joined = join(file, ours)
    assert texts(joined) == ["1", "2", "3"] and any("image" in n for n in joined.notes)


def test_one_id_with_two_questions_is_refused_with_by_id():
    ours = task(sample("a", "One?"), sample("b", "Two?"))
    file = answers(("a", "One?", None, "1"), ("a", "Two?", None, "2"))
    with pytest.raises(DataError, match="rows 1 and 2 both have the id 'a'"):
        join(file, ours, by="id")
    assert texts(join(file, ours)) == ["1", "2"]


def test_row_order_joins_only_with_by_position_and_equal_lengths():
    ours = task(sample("a"), sample("b"))
    blind = answers((None, None, None, "A"), (None, None, None, "B"))
    with pytest.raises(DataError, match="no ids, and it has no questions"):
        join(blind, ours)
    assert texts(join(blind, ours, by="position")) == ["A", "B"]
    with pytest.raises(DataError, match="1 answers and 2 samples"):
        join(answers((None, None, None, "A")), ours, by="position")
    slipped = answers((None, "Is it?", None, "A"), (None, "Where?", None, "B"))
    with pytest.raises(DataError, match="joined by position, 1 of 2"):
        join(slipped, ours, by="position")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "ids"}, "Did you mean 'id'"),
        ({"order": "hub"}, "no such numbering"),
        ({"order": "hf", "by": "question"}, "contradicts"),
        ({"max_unmatched": 2}, "between 0 and 1"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        join(numbered("hf"), HF, **settings)


def test_a_row_number_past_the_end_belongs_to_no_sample():
    beyond = answers(*((a.id, a.question, None, a.text) for a in numbered("hf").answers), ("10", None, None, "x"))
    assert [a.id for a in join(beyond, HF, order="hf", max_unmatched=0.1).unmatched] == ["10"]


def test_an_order_needs_row_numbers():
    with pytest.raises(DataError, match="has the id 'x'"):
        join(answers(("x", None, None, "A")), HF, order="hf")


@given(st.permutations(range(8)), st.booleans())
def test_shuffling_the_rows_of_a_file_never_changes_a_prediction(rows, with_ids):
    ours = task(*(sample(f"s{i}", f"Question {i % 3}?", f"gold {i}") for i in range(8)))
    made = [(s.id if with_ids else None, s.question, s.references[0], f"to {s.id}") for s in ours.samples]
    joined = join(answers(*(made[i] for i in rows)), ours)
    assert texts(joined) == [f"to s{i}" for i in range(8)]
    assert joined.by == ("id" if with_ids else "question")


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_PREDICTIONS = st.lists(
    st.tuples(
        st.one_of(_TEXT.map(lambda t: {"text": t}), _TEXT.map(lambda t: {"error": t})),
        st.sampled_from(["stop", "length", "error", "unknown"]),
        st.none() | st.integers(0, 99),
        st.none() | st.floats(0, 99),
        st.sampled_from(["", "abc"]),
    ),
    min_size=1,
    max_size=5,
)


@given(_PREDICTIONS, st.booleans())
def test_our_own_file_read_again_gives_equal_predictions(tmp_path_factory, made, ascii):
    ours = task(*(sample(f"s{i}", f"Question {i}?") for i in range(len(made))))
    before = [
        Prediction(sample_id=s.id, finish_reason=reason, n_tokens=n, seconds=seconds, fingerprint=key, **what)
        for s, (what, reason, n, seconds, key) in zip(ours.samples, made, strict=True)
    ]
    path = tmp_path_factory.mktemp("own") / "predictions.jsonl"
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for s, p in reversed(list(zip(ours.samples, before, strict=True))):
            row = {"sample_id": s.id, "image_id": s.image_id, "question": s.question, "references": list(s.references)}
            row |= {"answer_type": None, "text": p.text, "error": p.error, "finish_reason": p.finish_reason}
            row |= {"n_tokens": p.n_tokens, "seconds": p.seconds, "fingerprint": p.fingerprint}
            out.write(json.dumps(row, ensure_ascii=ascii) + "\n")
    assert list(join(read_answers(path), ours).predictions) == before


DATA = SHARED / "data"


@pytest.fixture(scope="module")
def vqa_rad():
    """The 451 test rows of the released JSON; the hub numbers them by their position among them, sorted as text."""
    release = DATA / "vqa-rad" / "osf" / "VQA_RAD Dataset Public.json"
    if not release.is_file():
        pytest.skip(f"no VQA-RAD in {DATA}")
    rows = [r for r in json.loads(release.read_text()) if r["phrase_type"].startswith("test")]
    samples = [sample(str(r["qid"]), r["question"], str(r["answer"]), image=r["image_name"]) for r in rows]
    return task(*samples, hf=[s.id for _, s in sorted(enumerate(samples), key=lambda x: str(x[0]))])


RUNS = ("baseline/predictions", *(f"lora_{n}/lora_predictions" for n in ("quick", "rank4", "rank8", "rank16")))


@pytest.mark.data
@pytest.mark.parametrize("run", RUNS)
def test_the_real_answers_in_hub_order_join_completely(vqa_rad, run):
    path = DATA / "predictions" / "qwen2-vl-2b-vqa-rad" / f"{run}.jsonl"
    file = read_answers(path)
    joined = join(file, vqa_rad, order="hf")
    assert (joined.n_matched, joined.unmatched, joined.missing) == (451, (), ())
    rows = {r["id"]: r for r in map(json.loads, path.read_text().splitlines())}
    gold = {vqa_rad.order["hf"][k]: r for k, r in rows.items()}
    for s, p in zip(vqa_rad.samples, joined.predictions, strict=True):
        assert p.text == gold[s.id]["prediction"]
        assert s.references[0].strip().lower() == gold[s.id]["reference"]
    with pytest.raises(DataError, match=r"Use task\.order=hf"):
        join(file, vqa_rad)
    with pytest.raises(DataError, match=r"use task\.order=hf"):
        join(file, vqa_rad, by="id")
