"""Files of EvalScope, lighteval, KARMA, newer VLMEvalKit and Colon-X, built from the fields that these tools write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import DataError
from evalkit.core.types import Sample
from evalkit.importers import join, read_answers
from evalkit.tasks.base import LoadedTask
from tests.importers.test_formats import EXPECTED, QA, joined_texts, lines, vlmevalkit

Row = dict[str, Any]


# --- EvalScope 1.14


def asked(i: int) -> list[Row]:
    prompt = f'{QA[i][0]}\nAnswer the question.\nThe last line must be of the form "ANSWER: <answer>".'
    content = [{"type": "image", "image": "data:image/jpeg;base64,AAAA"}, {"type": "text", "text": prompt}]
    return [{"role": "user", "content": content}, {"role": "assistant", "content": QA[i][2]}]


def prediction(i: int, **change: Any) -> Row:
    message = {"role": "assistant", "content": QA[i][2]}
    output = {"model": "m", "choices": [{"message": message, "stop_reason": "max_tokens" if i == 1 else "stop"}]}
    output |= {"usage": {"output_tokens": 4}, "time": 0.5, "error": None}
    meta = {"qid": f"s{i}", "img_name": f"xmlab{i}/source.jpg"}
    return {"index": i, "model": "m", "model_output": output | change, "messages": asked(i), "metadata": meta}


def review(i: int) -> Row:
    score = {"value": {"acc": 0.0}, "extracted_prediction": "x", "prediction": QA[i][2]}
    whole = {"score": score, "sample_id": i, "sample_metadata": {"qid": f"s{i}"}}
    return {"index": i, "target": [QA[i][1]], "messages": asked(i), "sample_score": whole}


def test_evalscope_predictions_have_the_text_the_stop_and_the_tokens(tmp_path: Path) -> None:
    path = tmp_path / "slake_en_open.jsonl"
    path.write_text(lines(prediction(i) for i in (2, 0, 1)))
    assert joined_texts(path, "evalscope") == EXPECTED
    last = read_answers(path).answers[2]
    assert (last.finish_reason, last.n_tokens, last.seconds) == ("length", 4, 0.5)


def test_evalscope_reviews_have_the_model_s_text_and_not_the_extracted_one(tmp_path: Path) -> None:
    path = tmp_path / "slake_en_open.jsonl"
    path.write_text(lines(review(i) for i in (1, 2, 0)))
    assert joined_texts(path, "evalscope") == EXPECTED
    file = read_answers(path)
    assert [a.reference for a in file.answers] == [QA[i][1] for i in (1, 2, 0)]
    assert any("no stop reasons" in n for n in file.notes)


def test_evalscope_subsets_in_one_file_are_joined_by_the_data_set_s_ids(tmp_path: Path) -> None:
    path = tmp_path / "both.jsonl"
    rows = [prediction(0), prediction(1), prediction(2) | {"index": 0}]  # the second subset counts from 0 again
    path.write_text(lines(rows))
    assert joined_texts(path, "evalscope") == EXPECTED


def test_evalscope_thoughts_filters_and_missing_choices(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    parts = [{"type": "reasoning", "reasoning": "It is big."}, {"type": "text", "text": "yes"}]
    thought = {"choices": [{"message": {"role": "assistant", "content": parts}, "stop_reason": "stop"}]}
    withheld = {"choices": [{"message": {"content": "I"}, "stop_reason": "content_filter"}]}
    path.write_text(lines([prediction(0, **thought), prediction(1, **withheld), prediction(2, choices=[])]))
    first, second, third = read_answers(path).answers
    assert (first.text, first.reasoning) == ("yes", "It is big.")
    assert second.error == "stopped by a content filter (content_filter)" and third.error == "no completion"


@pytest.mark.parametrize(
    "change", [{"model_output": None}, {"model_output": 3}, {"model_output": "x"}, {"messages": 1}]
)
def test_evalscope_rows_of_wrong_types_give_no_answer_or_are_refused(tmp_path: Path, change: Row) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([prediction(0) | change]))
    answer = read_answers(path).answers[0]
    assert answer.error == "no completion" if "model_output" in change else answer.text == EXPECTED[0]


@pytest.mark.parametrize("score", [None, 3, "x", [], {}, {"score": None}, {"score": {"prediction": None}}])
def test_evalscope_reviews_without_a_prediction_give_no_answer(tmp_path: Path, score: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([review(0) | {"sample_score": score}]))
    assert [(a.text, a.error) for a in read_answers(path).answers] == [(None, "no completion")]


def test_evalscope_with_two_answers_a_question_does_not_advise_to_name_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    other = {"choices": [{"message": {"role": "assistant", "content": "no"}, "stop_reason": "stop"}]}
    path.write_text(lines([prediction(0), prediction(0, **other)]))
    with pytest.raises(DataError, match=r"1 ids have two answers .* Keep one of them\.$"):
        read_answers(path)


# --- lighteval 0.13


def detail(i: int, **change: Any) -> Row:
    q, r, text = QA[i]
    doc = {"query": f"{q}\nAnswer:", "choices": ["other", r], "gold_index": [1], "id": str(i), "task_name": "toy|0"}
    doc |= {"images": [{"bytes": b"\x89PNG", "path": None}], "specific": {"qid": f"s{i}"}}
    response = {"input": q, "text": [text], "text_post_processed": ["after"], "logprobs": [], "output_tokens": [[1]]}
    return {"doc": doc, "model_response": response | change, "metric": {"em": 0.0}}


def details(path: Path, rows: list[Row], names: dict[str, str] | None = None) -> Path:
    import pyarrow
    import pyarrow.parquet

    renamed = [{(names or {}).get(k, k): v for k, v in row.items()} for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(renamed), path)
    return path


@pytest.mark.parametrize("names", [None, {"doc": "__doc__", "model_response": "__model_response__"}])
def test_lighteval_details_are_read_beside_their_images(tmp_path: Path, names: dict[str, str] | None) -> None:
    path = details(tmp_path / "details_toy_2026.parquet", [detail(i) for i in (2, 0, 1)], names)
    assert joined_texts(path, "lighteval") == EXPECTED
    assert [a.reference for a in read_answers(path).answers] == [QA[i][1] for i in (2, 0, 1)]


def test_lighteval_with_several_samples_or_with_options_ranked_is_refused(tmp_path: Path) -> None:
    path = details(tmp_path / "a.parquet", [detail(0, text=["a", "b"])])
    with pytest.raises(DataError, match="a list of 2"):
        read_answers(path)
    path = details(tmp_path / "b.parquet", [detail(0), detail(1, text=[], logprobs=[-1.0, -2.0])])
    with pytest.raises(DataError, match="row 2 has log-probabilities and no text"):
        read_answers(path)


# --- KARMA 0.2


def karma(i: int, **change: Any) -> Row:
    row = {"cache_key": f"k{i}", "dataset_name": "flaviagiammarino/vqa-rad", "dataset_row_hash": f"h{i}"}
    row |= {"dataset_row_metadata": json.dumps({"id": f"s{i}"}), "model_output": QA[i][2]}
    return row | {"ground_truth_output": QA[i][1].lower(), "config_hash": "c", "success": True} | change


def test_karma_s_table_is_joined_by_the_ids_in_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "karma.json"
    path.write_text(json.dumps([karma(i) for i in (1, 0, 2)]))
    assert joined_texts(path, "karma") == EXPECTED
    assert any("what it extracted" in n for n in read_answers(path).notes)
    path = details(tmp_path / "karma.parquet", [karma(i) for i in range(3)])
    assert joined_texts(path, "karma") == EXPECTED


def test_karma_s_table_with_several_runs_is_refused_with_their_names(tmp_path: Path) -> None:
    path = tmp_path / "karma.json"
    path.write_text(json.dumps([karma(0), karma(1, config_hash="d")]))
    with pytest.raises(DataError, match=r"2 runs .*vqa-rad c.*WHERE config_hash"):
        read_answers(path)


def test_a_duckdb_file_says_how_to_export_its_table(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_cache.duckdb"
    path.write_bytes(b"\x00" * 8 + b"DUCK" + b"\x00" * 100)
    with pytest.raises(DataError, match=r"a DuckDB database.*COPY inference_results TO"):
        read_answers(path)


# --- VLMEvalKit with SPLIT_THINK and structured records


def test_vlmevalkit_s_thoughts_and_extra_records(tmp_path: Path) -> None:
    path = tmp_path / "m_d.json"
    rows = [vlmevalkit(i) | {"extra_records": {"steps": [1, 2]}} for i in range(3)]
    rows[0]["thinking"] = "<think>a</think>b</think>"  # how it writes a thought that it could not split
    path.write_text(json.dumps(rows))
    assert joined_texts(path, "vlmevalkit") == EXPECTED
    assert read_answers(path).answers[0].reasoning == "<think>a</think>b</think>"


def test_vlmevalkit_s_judged_file_gives_the_same_answers(tmp_path: Path) -> None:
    path = tmp_path / "m_d_gpt-4.csv"
    rows = [vlmevalkit(i) | {"hit": 1, "log": "Correct: yes", "judge": "[Begin Correctness] no"} for i in range(3)]
    quoted = [",".join(f'"{v}"' for v in values) for values in (rows[0].keys(), *(r.values() for r in rows))]
    path.write_text("\n".join(quoted) + "\n")
    assert joined_texts(path, "vlmevalkit") == EXPECTED


# --- Colon-X


def turns(i: int, *more: tuple[str, str]) -> Row:
    human, gold = (("human", f"<image>\n{QA[i][0]}"), ("gpt", QA[i][1]))
    said = [{"from": who, "value": value} for who, value in (human, gold, *more)]
    return {"id": f"Positive-images/Test/{i}.jpg", "image": f"Positive-images/Test/{i}.jpg", "conversations": said}


def test_colon_x_predictions_are_the_model_s_and_not_the_referee_s(tmp_path: Path) -> None:
    path = tmp_path / "pred_Task_9_ColonEval.json"
    judged = turns(0, ("prediction_ori", QA[0][2]), ("prediction", "no"))
    path.write_text(json.dumps([judged, turns(1, ("prediction", QA[1][2])), turns(2, ("prediction", QA[2][2]))]))
    assert joined_texts(path, "intelliscope") == EXPECTED
    assert any("1 items have a referee's word" in n for n in read_answers(path).notes)


def test_colon_x_with_two_runs_of_its_referee_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps([turns(0, ("prediction_ori", "yes no"), ("prediction_ori", "yes, no"), ("prediction", "no"))])
    )
    with pytest.raises(DataError, match="several turns from 'prediction_ori'"):
        read_answers(path)


def test_colon_x_questions_with_options_are_joined_to_the_task_that_cuts_them(tmp_path: Path) -> None:
    question = "Which technique? <A> Linked Color Imaging (LCI), <B> Narrow Band Imaging (NBI)"
    options = ("Linked Color Imaging (LCI)", "Narrow Band Imaging (NBI)")
    rows, samples = [], []
    for i in range(4):  # two pictures with one question; the ids are paths, and the task's are row numbers
        image, right = f"Positive-images/{i % 2}.jpg", i // 2
        said = (question, f"<{'AB'[right]}>" + (f" {options[right]}" if i else ""), f"It is {i}")
        turned = [{"from": who, "value": v} for who, v in zip(("human", "gpt", "prediction"), said, strict=True)]
        rows.append({"id": image, "image": image, "conversations": turned})
        about: dict[str, Any] = {"choices": options, "tags": {"answer_type": "CHOICE"}}
        asked = {"question": "Which technique?", "references": (options[right],)}
        samples.append(Sample(id=str(i + 1), image_id=image, **asked, **about))
    path = tmp_path / "pred_Task_6_ColonEval.json"
    path.write_text(json.dumps(rows[::-1]))
    task = LoadedTask(
        name="coloneval", split="test", form="made", closed_rule="label", prompt="plain", samples=tuple(samples)
    )
    joined = join(read_answers(path), task)
    assert [p.text for p in joined.predictions] == ["It is 0", "It is 1", "It is 2", "It is 3"]


@pytest.mark.parametrize("said", [True, False])
def test_colon_x_answers_that_became_truth_values_are_refused(tmp_path: Path, said: bool) -> None:
    row = turns(0, ("prediction", "x"))
    row["conversations"][2]["value"] = said
    path = tmp_path / "a.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(DataError, match=f"item 1, prediction: expected text or a number, found the truth value {said}"):
        read_answers(path)


@pytest.mark.parametrize("gold", ["<C> x", "<B>", "<B> none", "plain"])
def test_colon_x_golds_that_name_no_option_are_left_as_they_are(tmp_path: Path, gold: str) -> None:
    row = turns(0, ("prediction", "x"))
    row["conversations"][1]["value"] = gold
    row["conversations"][0]["value"] = "<image>\nWhich? <A> CT"
    path = tmp_path / "a.json"
    path.write_text(json.dumps([row]))
    answer = read_answers(path).answers[0]
    assert (answer.question, answer.reference) == ("Which? <A> CT", gold)
