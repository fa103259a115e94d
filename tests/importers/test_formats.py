"""Files of other tools, built from their documented fields, with irregularities seen in practice."""

import json
import struct
import subprocess
import sys
import zipfile

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import Sample
from evalkit.importers import FORMATS, join, read_answers
from evalkit.tasks.base import LoadedTask

QA = (
    ("Is it big?", "Yes", "Assistant: yes, it is"),
    ("Where is it?", "left lobe", "None"),
    ("Which plane?", "axial", ""),
)
TASK = LoadedTask(
    name="toy", split="test", form="made", closed_rule="label", prompt="plain",
    samples=tuple(Sample(id=f"s{i}", image_id="i", question=q, references=(r,)) for i, (q, r, _) in enumerate(QA)),
)  # fmt: skip


def lines(rows):
    return "".join(json.dumps(r) + "\n" for r in rows)


def joined_texts(path, format, **named):
    """The texts of a file, joined to the task: the same whatever the format."""
    file = read_answers(path, **named)
    assert file.format == format
    joined = join(file, TASK)
    assert joined.n_matched == len(QA)
    return [p.text for p in joined.predictions]


EXPECTED = [text for _, _, text in QA]


# --- lmms-eval and lm-evaluation-harness


def lmms(i, **change):
    q, r, text = QA[i]
    prompt = f"{q}\nAnswer the question using a single word or phrase."
    row = {"doc_id": i + 7, "target": r, "filtered_resps": [text], "doc_hash": "h", "input": prompt, "exact_match": 0.0}
    return row | {"token_counts": [{"output_tokens": 3}]} | change


def test_lmms_eval_samples(tmp_path):
    path = tmp_path / "20260101_samples_slake_en.jsonl"
    path.write_text(lines(lmms(i) for i in (2, 0, 1)))
    assert joined_texts(path, "lmms-eval") == EXPECTED


def test_lmms_eval_gives_the_unfiltered_answer_and_merges_an_appended_run(tmp_path):
    path = tmp_path / "samples.jsonl"
    rows = [
        lmms(i, resps=[[QA[i][2]]], filtered_resps=["filtered"], input=[{"role": "user", "content": QA[i][0]}])
        for i in range(3)
    ]
    path.write_text(lines(rows + rows))
    assert joined_texts(path, "lmms-eval") == EXPECTED
    notes = read_answers(path).notes
    assert any("3 rows repeat" in n for n in notes) and any("6 rows have a filtered answer" in n for n in notes)
    assert read_answers(path, prediction="filtered_resps").answers[0].text == "filtered"


def test_lmms_eval_of_two_different_runs_in_one_file_is_refused(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text(lines([lmms(0), lmms(1), lmms(0, filtered_resps=["no"])]))
    with pytest.raises(DataError, match=r"7 \(rows 1 and 3\)"):
        read_answers(path)


def test_lm_eval_with_several_filters_a_document(tmp_path):
    path = tmp_path / "samples_vqa_2026.jsonl"
    hashes = {"doc_hash": "h", "prompt_hash": "p", "target_hash": "t"}
    rows = [
        {"doc_id": i, "doc": {"question": q, "answer": r}, "target": r, "arguments": {"gen_args_0": {"arg_0": "p"}}}
        | {"resps": [[text]], "filtered_resps": [name], "filter": name, "metrics": ["exact_match"], **hashes}
        for i, (q, r, text) in enumerate(QA)
        for name in ("strict-match", "flexible-extract")
    ]
    path.write_text(lines(rows))
    assert joined_texts(path, "lm-eval") == EXPECTED


def test_several_answers_a_document_are_refused(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text(lines([lmms(0, resps=[["a", "b"]])]))
    with pytest.raises(DataError, match="a list of 2"):
        read_answers(path)


# --- VLMEvalKit


def vlmevalkit(i):
    q, r, text = QA[i]
    return {"index": i, "question": q, "answer": r, "category": "c", "prediction": text, "thinking": ""}


def test_vlmevalkit_json_and_tsv(tmp_path):
    rows = [vlmevalkit(i) for i in range(3)]
    (tmp_path / "m_d.json").write_text(json.dumps(rows))
    table = "\n".join("\t".join(map(str, r)) for r in (rows[0].keys(), *(r.values() for r in rows)))
    (tmp_path / "m_d.tsv").write_text(table + "\n")
    assert joined_texts(tmp_path / "m_d.json", "vlmevalkit") == EXPECTED
    assert joined_texts(tmp_path / "m_d.tsv", "vlmevalkit") == EXPECTED


def test_vlmevalkit_s_failure_text_is_an_error_and_its_reasoning_is_noted(tmp_path):
    path = tmp_path / "a.json"
    failed = vlmevalkit(0) | {"prediction": "Failed to obtain answer via API.", "thinking": "hm"}
    path.write_text(json.dumps([failed]))
    file = read_answers(path)
    assert file.answers[0].error == "not an answer: the harness wrote 'Failed to obtain answer via API.'"
    assert any("1 rows have reasoning in the column 'thinking'" in n for n in file.notes)


def test_base64_columns_of_any_size_are_skipped(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("index\timage\tquestion\tprediction\n0\t" + "A" * 200_000 + "\tIs it?\tyes\n")
    assert read_answers(path).answers[0].text == "yes"


def workbook(path, rows, **sheets):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for name in sheets:
        book.create_sheet(name)
    book.save(path)


def test_vlmevalkit_xlsx_with_cut_cells_formulas_and_an_empty_cell(tmp_path):
    path = tmp_path / "m_d.xlsx"
    texts = ["NA", "None", "=left lobe", 3, None, "x" * 32_766, "y" * 32_767]
    rows = [[i, "Is it?", "yes", t] for i, t in enumerate(texts)]
    workbook(path, [["index", "question", "answer", "prediction"], *rows])
    file = read_answers(path)
    assert file.format == "vlmevalkit"
    assert [a.text for a in file.answers] == ["NA", "None", "=left lobe", "3", "", "x" * 32_766, None]
    assert file.answers[-1].error == "cut at 32,767 characters"
    assert any("1 empty cells" in n for n in file.notes)


def test_a_date_in_a_sheet_and_further_sheets(tmp_path):
    import datetime

    path = tmp_path / "a.xlsx"
    workbook(path, [["id", "prediction"], [0, "yes"]], notes=None)
    assert any("1 other sheets were ignored" in n for n in read_answers(path).notes)
    workbook(path, [["id", "prediction"], [0, datetime.date(2026, 2, 1)]])
    with pytest.raises(
        DataError, match="row 2, column 'prediction': the spreadsheet has converted this cell to a date"
    ):
        read_answers(path)


def test_xlsx_without_openpyxl_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match="pip install openpyxl"):
        read_answers(path)


# --- MedEvalKit, MedVLMBench


def test_medevalkit_results_without_ids(tmp_path):
    path = tmp_path / "results.json"
    rows = [
        {"question": q, "answer": r.lower(), "response": text, "correct": True, "answer_type": "OPEN"}
        for q, r, text in QA
    ]
    path.write_text(json.dumps(rows[::-1]))
    (tmp_path / "metrics.json").write_text("{}")
    assert joined_texts(tmp_path, "medevalkit") == EXPECTED


def test_medvlmbench_predictions(tmp_path):
    path = tmp_path / "predictions.json"
    rows = [
        {"image_path": "NA", "question_type": "open", "qs": q, "answer": r, "prediction": text} for q, r, text in QA
    ]
    path.write_text(json.dumps(rows, indent=4))
    assert joined_texts(path, "medvlmbench") == EXPECTED


# --- IntelliScope


def dialogue(i, key="conversations"):
    q, r, text = QA[i]
    turns = [
        {"from": "human", "value": f"<image>\n{q}"},
        {"from": "gpt", "value": r},
        {"from": "prediction", "value": text},
    ]
    return {"id": f"Set/Test/{i}.png", "image": str(i), key: turns}


def test_intelliscope_predictions_and_the_result_that_its_evaluator_appends(tmp_path):
    path = tmp_path / "test_pred_cls.json"
    whole = json.dumps([dialogue(0), dialogue(1, "conversatons"), dialogue(2)], indent=1)
    path.write_text(whole)
    assert joined_texts(path, "intelliscope") == EXPECTED
    path.write_text(whole + ',\n{"eval_result": 0.5}')
    assert joined_texts(path, "intelliscope") == EXPECTED
    assert any("after the end of the array were ignored" in n for n in read_answers(path).notes)


def test_intelliscope_keeps_the_end_token_and_counts_a_missing_turn(tmp_path):
    path = tmp_path / "a.json"
    first, second = dialogue(0), dialogue(1)
    first["conversations"][2]["value"] = "polyp<|endoftext|> "
    del second["conversations"][2]
    path.write_text(json.dumps([first, second]))
    answers = read_answers(path).answers
    assert [(a.text, a.error) for a in answers] == [("polyp<|endoftext|> ", None), (None, "no prediction turn")]


def test_the_dataset_itself_interrupted_files_and_double_turns_are_refused(tmp_path):
    path = tmp_path / "a.json"
    gold = dialogue(0)
    del gold["conversations"][2]
    path.write_text(json.dumps([gold]))
    with pytest.raises(DataError, match="this is the dataset"):
        read_answers(path)
    path.write_text("[" + json.dumps(dialogue(0)) + ",\n" + json.dumps(dialogue(1)) + ",\n")
    with pytest.raises(DataError, match="malformed JSON"):
        read_answers(path)
    twice = dialogue(0)
    twice["conversations"] *= 2
    path.write_text(json.dumps([twice]))
    with pytest.raises(DataError, match="several turns from 'human'"):
        read_answers(path)


# --- inspect


def inspect_sample(i, **change):
    q, r, text = QA[i]
    content = [{"type": "image", "image": "attachment://i"}, {"type": "text", "text": q}]
    choice = {"message": {"role": "assistant", "content": text}, "stop_reason": "max_tokens" if i == 1 else "stop"}
    output = {"model": "m", "completion": text, "choices": [choice], "usage": {"output_tokens": 4}, "time": 0.5}
    sample = {
        "id": i + 1,
        "epoch": 1,
        "input": [{"role": "system", "content": "s"}, {"role": "user", "content": content}],
    }
    return (
        sample
        | {"target": [r], "output": output, "scores": {}, "metadata": {}, "error": None, "attachments": {"i": "data:"}}
        | change
    )


def eval_archive(path, samples, compress=None, status="success"):
    members = {"header.json": {"version": 2, "status": status, "eval": {}}, "summaries.json": []}
    members |= {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in samples}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if compress else zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            data = json.dumps(content).encode()
            archive.writestr(name, compress(data) if compress else data)
    if compress:
        as_zstandard(path, {name: json.dumps(content).encode() for name, content in members.items()})


def as_zstandard(path, originals):
    """Rewrite the headers of a stored archive to say that its members are zstandard (method 93)."""
    import zlib

    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        infos, at = archive.infolist(), archive.start_dir
    for info in infos:
        crc, size = zlib.crc32(originals[info.filename]), len(originals[info.filename])
        struct.pack_into("<H", data, info.header_offset + 8, 93)
        struct.pack_into("<L", data, info.header_offset + 14, crc)
        struct.pack_into("<L", data, info.header_offset + 22, size)
        struct.pack_into("<H", data, at + 10, 93)
        struct.pack_into("<L", data, at + 16, crc)
        struct.pack_into("<L", data, at + 24, size)
        at += 46 + len(info.filename.encode()) + len(info.extra) + len(info.comment)
    path.write_bytes(bytes(data))


def zstandard(data):
    import pyarrow

    return pyarrow.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize("compress", [None, zstandard], ids=["deflate", "zstandard"])
def test_inspect_eval_archives(tmp_path, compress):
    path = tmp_path / "log.eval"
    eval_archive(path, [inspect_sample(i) for i in (1, 2, 0)], compress)
    assert joined_texts(path, "inspect") == EXPECTED
    first = read_answers(path).answers[0]
    assert (first.id, first.finish_reason, first.n_tokens, first.seconds) == ("2", "length", 4, 0.5)


def test_a_damaged_zstandard_member_is_refused(tmp_path):
    path = tmp_path / "log.eval"
    eval_archive(path, [inspect_sample(0)], zstandard)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("samples/1_epoch_1.json")
    path.write_bytes(whole.replace(struct.pack("<L", info.CRC), struct.pack("<L", info.CRC ^ 1)))
    with pytest.raises(DataError, match="checksum or size differ"):
        read_answers(path)
    data = bytearray(whole)
    data[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="cannot be read"):
        read_answers(path)


def test_inspect_json_logs_with_failures_attachments_and_an_unfinished_run(tmp_path):
    path = tmp_path / "log.json"
    failed = inspect_sample(0, error={"message": "CUDA out of memory", "traceback": "t"})
    silent = inspect_sample(1, output={"model": "m", "choices": [], "completion": ""})
    apart = inspect_sample(2, input="attachment://q", attachments={"q": QA[2][0]})
    path.write_text(json.dumps({"version": 2, "status": "cancelled", "eval": {}, "samples": [failed, silent, apart]}))
    file = read_answers(path)
    assert [(a.text, a.error) for a in file.answers] == [
        (None, "CUDA out of memory"),
        (None, "no completion"),
        ("", None),
    ]
    assert file.answers[2].question == QA[2][0]
    assert "the log's status is 'cancelled', not 'success'" in file.notes


def test_inspect_epochs_with_different_answers_are_refused(tmp_path):
    path = tmp_path / "log.eval"
    other = inspect_sample(0, epoch=2)
    eval_archive(path, [inspect_sample(0), other | {"output": other["output"] | {"completion": "no"}}])
    with pytest.raises(DataError, match=r"2 epochs, with different answers to 1 samples: 1\. One answer") as refused:
        read_answers(path)
    assert "id=NAME" not in str(refused.value)  # an inspect log has no columns to name


def test_inspect_epochs_with_the_same_answers_are_merged_and_an_epoch_that_failed_is_left_out(tmp_path):
    path = tmp_path / "log.eval"
    failed = inspect_sample(1, epoch=2) | {"error": {"message": "boom"}}
    eval_archive(path, [inspect_sample(0), inspect_sample(1), inspect_sample(0, epoch=2), failed])
    file = read_answers(path)
    assert [a.text for a in file.answers] == [QA[0][2], QA[1][2]]
    assert any("1 rows repeat" in n for n in file.notes) and any("both an error and an answer" in n for n in file.notes)


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.has_fixed_columns])
def test_a_format_with_fixed_columns_takes_no_names_of_columns(tmp_path, name):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"a": 1}]))
    with pytest.raises(ConfigError, match=f"the columns of format '{name}' are fixed"):
        read_answers(path, format=name, id="a")


def test_an_archive_without_samples_and_a_broken_one_are_refused(tmp_path):
    path = tmp_path / "log.eval"
    eval_archive(path, [])
    with pytest.raises(DataError, match="contains no samples"):
        read_answers(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="damaged zip"):
        read_answers(path)


# --- HELM


def helm_state(i, **change):
    q, r, text = QA[i]
    media = [{"content_type": "image/png", "location": "x.png"}, {"content_type": "text/plain", "text": q}]
    references = [{"output": {"text": "wrong"}, "tags": []}, {"output": {"text": r}, "tags": ["correct"]}]
    instance = {"input": {"text": "", "multimedia_content": {"media_objects": media}}, "references": references}
    completion = {
        "text": text,
        "logprob": 0,
        "tokens": [],
        "finish_reason": {"reason": "length" if i == 1 else "endoftext"},
    }
    result = {"success": True, "cached": False, "completions": [completion], "request_time": 0.25}
    return {
        "instance": instance | {"split": "test", "id": f"id{i}"},
        "train_trial_index": 0,
        "request": {},
        "result": result,
    } | change


def test_helm_run_folders(tmp_path):
    state = {"adapter_spec": {"method": "generation"}, "request_states": [helm_state(i) for i in (2, 1, 0)]}
    (tmp_path / "scenario_state.json").write_text(json.dumps(state, indent=2))
    (tmp_path / "run_spec.json").write_text("{}")
    assert joined_texts(tmp_path, "helm") == EXPECTED
    assert [a.finish_reason for a in read_answers(tmp_path).answers] == ["stop", "length", "stop"]


def test_helm_failures_perturbations_and_several_completions(tmp_path):
    path = tmp_path / "scenario_state.json"
    bent = helm_state(0)
    bent["instance"]["perturbation"] = {"name": "typos"}
    failed = helm_state(0, result={"success": False, "error": "rate limit", "completions": []})
    path.write_text(json.dumps({"request_states": [bent, failed]}))
    file = read_answers(path)
    assert [a.error for a in file.answers] == ["rate limit"]
    assert any("1 requests for perturbed copies" in n for n in file.notes)
    many = helm_state(0)
    many["result"]["completions"] *= 2
    path.write_text(json.dumps({"request_states": [many]}))
    with pytest.raises(DataError, match="2 completions"):
        read_answers(path)


# --- parquet


def test_parquet_leaves_images_unread_and_keeps_nulls_apart_from_texts(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "answers.parquet"
    columns = {"id": [0, None, 2], "question": ["a", "b", "c"], "answers": [["x", "y"], ["z"], []]}
    columns |= {"prediction": ["NA", None, ""], "image": [{"bytes": b"\x89PNG", "path": "p"}] * 3}
    columns |= {"images": [[{"bytes": b"\x89PNG"}]] * 3}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    file = read_answers(path)
    assert [(a.id, a.reference, a.text, a.error) for a in file.answers] == [
        ("0", "x", "NA", None),
        (None, "z", None, "null answer"),
        ("2", None, "", None),
    ]
    pyarrow.parquet.write_table(pyarrow.table({"id": [0, 1], "prediction": [2.0, float("nan")]}), path)
    assert [(a.text, a.error) for a in read_answers(path).answers] == [("2", None), (None, "null answer")]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="not a readable parquet file"):
        read_answers(path)


# --- all of them


def test_formats_with_fixed_fields_take_no_column_names(tmp_path):
    path = tmp_path / "scenario_state.json"
    path.write_text(json.dumps({"request_states": [helm_state(0)]}))
    with pytest.raises(ConfigError, match="columns of format 'helm' are fixed"):
        read_answers(path, id="x")


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_in_another_format_than_configured_is_refused(tmp_path, name):
    path = tmp_path / "a.json"
    path.write_text('[{"foo": 1}, {"foo": 2}]')
    with pytest.raises(DataError):
        read_answers(path, format=name)
    path.write_text('{"foo": [1]}')
    with pytest.raises(DataError):
        read_answers(path, format=name)


def test_importing_the_readers_imports_nothing_heavy():
    heavy = {"torch", "transformers", "datasets", "pandas", "numpy", "pyarrow", "openpyxl"}
    code = "import sys, evalkit.importers; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "evalkit.importers.join" in loaded and not heavy & set(loaded)
