"""What identifies a row joins it: any order of the rows of a file gives the same predictions."""

import csv
import io
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core.errors import DataError
from evalkit.core.types import Sample
from evalkit.importers import join, read_answers
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.slake import Slake
from tests.support.paths import SHARED

# Four images, three questions each; the same question and gold answer on two images, so that texts alone do not decide.
TASK = LoadedTask(
    name="toy", split="test", form="made", closed_rule="label", prompt="plain",
    samples=tuple(
        Sample(
            id=str(11_000 + 3 * k), image_id=f"xmlab{200 + k % 4}/source.jpg", question=f"Question {k // 4}?",
            references=(("yes", "no")[k % 4 // 2],),
        )
        for k in range(12)
    ),
)  # fmt: skip
TRUTH = [f"answer {k}" for k in range(12)]


def lm_eval(k, s, doc):
    row = {"doc_id": k, "doc": {"question": s.question, **doc}, "target": s.references[0]}
    return row | {"resps": [[TRUTH[k]]], "filtered_resps": [TRUTH[k]], "doc_hash": f"{k * 7919 % 97}"}


SHAPES = {
    "lm-eval with an id in doc": lambda k, s: lm_eval(k, s, {"qid": int(s.id)}) | {"doc_id": 991 * k % 100},
    "lm-eval with an image in doc": lambda k, s: lm_eval(k, s, {"img_name": s.image_id}) | {"doc_id": 991 * k % 100},
    "lm-eval with row numbers": lambda k, s: lm_eval(k, s, {}),
    "VLMEvalKit with row numbers": lambda k, s: {
        "index": k, "question": s.question, "answer": s.references[0], "prediction": TRUTH[k],
    },
    "VLMEvalKit with row numbers from 1": lambda k, s: {
        "index": k + 1, "question": s.question, "answer": s.references[0], "prediction": TRUTH[k],
    },
    "VLMEvalKit with gaps": lambda k, s: {
        "index": 40 + 7 * k, "question": s.question, "answer": s.references[0], "prediction": TRUTH[k],
    },
    "a data frame's unnamed index": lambda k, s: {
        "": k, "question": s.question, "answer": s.references[0], "prediction": TRUTH[k],
    },
    "ids under an unknown name": lambda k, s: {
        "case": s.id, "question": s.question, "answer": s.references[0], "prediction": TRUTH[k],
    },
    "paths of images": lambda k, s: {
        "image_path": f"/data/SLAKE/imgs/{s.image_id}", "question": s.question, "answer": s.references[0],
        "prediction": TRUTH[k],
    },
    "names of image folders": lambda k, s: {
        "image": s.image_id.split("/")[0], "question": s.question, "answer": s.references[0], "prediction": TRUTH[k],
    },
    "numbers of images": lambda k, s: {
        "img_id": 200 + k % 4, "question": s.question, "answer": s.references[0], "prediction": TRUTH[k],
    },
    "prefixed row numbers": lambda k, s: {
        "id": f"id{k}", "question": s.question, "answer": s.references[0], "prediction": TRUTH[k],
    },
}  # fmt: skip
FLAT = [name for name in SHAPES if not name.startswith("lm-eval")]


def read(folder, rows, table=False):
    path = folder / ("a.csv" if table else "a.jsonl")
    if table:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue(), newline="")
    else:
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return read_answers(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_order_of_the_rows_gives_every_sample_its_own_answer(tmp_path_factory, data):
    table = data.draw(st.booleans(), label="CSV")
    shape = data.draw(st.sampled_from(FLAT if table else sorted(SHAPES)), label="shape")
    order = data.draw(st.permutations(range(12)), label="order")
    rows = [SHAPES[shape](k, TASK.samples[k]) for k in order]
    joined = join(read(tmp_path_factory.mktemp("rows"), rows, table), TASK)
    assert [p.text for p in joined.predictions] == TRUTH
    assert joined.warnings == () and joined.missing == ()


def test_the_record_says_which_column_joined(tmp_path):
    def by(shape):
        return join(read(tmp_path, [SHAPES[shape](k, s) for k, s in enumerate(TASK.samples)]), TASK).by

    assert by("lm-eval with an id in doc") == "id:doc.qid"
    assert by("VLMEvalKit with gaps") == "rows:index"
    assert by("paths of images") == "question"


def bare(k, s):
    return {"question": s.question, "answer": s.references[0], "prediction": TRUTH[k]}


def test_where_only_the_order_decides_the_result_says_for_how_many_rows(tmp_path):
    rows = [bare(k, s) for k, s in enumerate(TASK.samples)]
    joined = join(read(tmp_path, rows), TASK)
    assert [p.text for p in joined.predictions] == TRUTH
    assert joined.warnings[0].startswith("12 of the 12 rows share the same question and reference with another row")
    assert "the file is in the task's order; for 12 of them the answers differ" in joined.warnings[0]
    assert "id=NAME" in joined.warnings[0] and "image_id=NAME" in joined.warnings[0]
    assert "the file is in another order" in join(read(tmp_path, rows[::-1]), TASK).warnings[0]
    alike = [r | {"prediction": "same"} for r in rows]
    assert "for 0 of them the answers differ" in join(read(tmp_path, alike), TASK).warnings[0]


def test_row_numbers_and_positions_say_what_they_alone_decide(tmp_path):
    rows = [SHAPES["VLMEvalKit with row numbers"](k, s) for k, s in enumerate(TASK.samples)]
    notes = join(read(tmp_path, rows), TASK).notes
    assert any("between 12 of the 12 rows" in n and "the number alone decides" in n for n in notes)
    warnings = join(read(tmp_path, [bare(k, s) for k, s in enumerate(TASK.samples)]), TASK, by="position").warnings
    assert "it alone decides between 12 of the 12 rows" in warnings[0]
    blind = [{"prediction": t, "note": "x"} for t in TRUTH]
    assert "the order decides all 12 rows" in join(read(tmp_path, blind), TASK, by="position").warnings[0]


def test_row_numbers_that_the_texts_contradict_are_not_used(tmp_path):
    """An index that was written anew after shuffling numbers the file's rows and not the task's."""
    order = random.Random(3).sample(range(12), 12)
    rows = [SHAPES["VLMEvalKit with row numbers"](k, TASK.samples[k]) | {"index": i} for i, k in enumerate(order)]
    joined = join(read(tmp_path, rows), TASK)
    assert joined.by == "question" and "12 of the 12 rows" in joined.warnings[0]


def test_a_part_of_the_rows_with_two_possible_numberings_is_not_joined_by_number(tmp_path):
    task = LoadedTask(
        name="toy", split="test", form="made", closed_rule="label", prompt="plain",
        samples=tuple(Sample(id=f"s{i}", image_id="i", question="Is it?", references=("yes",)) for i in range(6)),
    )  # fmt: skip
    rows = [{"index": i, "question": "Is it?", "answer": "yes", "prediction": str(i)} for i in (1, 2, 3)]
    joined = join(read(tmp_path, rows), task, max_unmatched=0.5)
    assert joined.by == "question" and "the file does not have all rows" in joined.warnings[0]


def test_a_column_that_the_user_names_is_the_only_one(tmp_path):
    rows = [bare(k, s) | {"qid": s.id, "x": k, "photo": s.image_id} for k, s in enumerate(TASK.samples)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows[::-1]))
    assert join(read_answers(path), TASK).by == "id"
    assert join(read_answers(path, id="x"), TASK).by == "rows:x"
    no_id = [{k: v for k, v in r.items() if k not in ("qid", "x")} | {"img": "a.png"} for r in rows]
    path.write_text("".join(json.dumps(r) + "\n" for r in no_id[::-1]))
    assert [p.text for p in join(read_answers(path, image_id="photo"), TASK).predictions] == TRUTH
    assert join(read_answers(path), TASK).warnings == ()
    with pytest.raises(DataError, match="image_id=phot, but no record"):
        read_answers(path, image_id="phot")


def test_images_of_other_names_do_not_keep_rows_apart(tmp_path):
    rows = [bare(k, s) | {"image": f"{k}.png"} for k, s in enumerate(TASK.samples)]
    joined = join(read(tmp_path, rows), TASK)
    assert [p.text for p in joined.predictions] == TRUTH and "12 of the 12 rows" in joined.warnings[0]


def test_ids_that_a_program_rewrote_as_numbers_are_found(tmp_path):
    task = LoadedTask(
        name="toy", split="test", form="made", closed_rule="label", prompt="plain",
        samples=tuple(Sample(id=i, image_id="i", question=f"Q {i}?", references=("yes",)) for i in ("007", "042", "x")),
    )  # fmt: skip
    rows = [{"id": "x", "prediction": "c"}, {"id": "7.0", "prediction": "a"}, {"id": 42, "prediction": "b"}]
    assert [p.text for p in join(read(tmp_path, rows), task).predictions] == ["a", "b", "c"]


def test_a_space_before_the_question_mark_joins(tmp_path):
    rows = [bare(k, s) | {"question": s.question.replace("?", " ?")} for k, s in enumerate(TASK.samples)]
    assert [p.text for p in join(read(tmp_path, rows), TASK).predictions] == TRUTH


@pytest.mark.few(2)
@pytest.mark.data
@pytest.mark.parametrize("shape", ["doc.qid", "index", "img_name", "img_id", "nothing"])
def test_shuffled_files_of_slake_join_like_the_unshuffled_ones(tmp_path, shape):
    folder = SHARED / "data" / "slake"
    if not (folder / "test.json").is_file():
        pytest.skip(f"no SLAKE in {folder}")
    task = Slake(name="slake", path=str(folder)).load(images=False)
    records = [r for r in json.loads((folder / "test.json").read_text(encoding="utf-8")) if r["q_lang"] == "en"]
    rows = []
    for k, r in enumerate(records):
        row = {"question": r["question"], "answer": r["answer"], "prediction": f"answer {k}"}
        extra = {"doc.qid": {"doc": {"qid": r["qid"]}}, "index": {"index": k}, "nothing": {}}
        rows.append(row | extra.get(shape, {shape: r.get(shape)}))
    plain = join(read(tmp_path, rows), task)
    assert [p.text for p in plain.predictions] == [f"answer {k}" for k in range(len(rows))]
    random.Random(0).shuffle(rows)
    shuffled = join(read(tmp_path, rows), task)
    if shape == "nothing":
        for joined in (plain, shuffled):
            assert joined.warnings[0].startswith("749 of the 1061 rows share the same question and reference")
    else:
        assert shuffled.predictions == plain.predictions and shuffled.warnings == ()
