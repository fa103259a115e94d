"""Every format with every field of a file replaced by every type of JSON: read, or refused in one paragraph."""

from __future__ import annotations

import copy
import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.cli.main import main
from evalkit.core.types import Sample
from evalkit.importers import FORMATS, join, read_answers
from evalkit.tasks.base import LoadedTask
from tests.support.fuzzing import GRAFTS, grafted, value_or_error

TASK = LoadedTask(
    name="toy",
    split="test",
    form="made",
    closed_rule="label",
    prompt="plain",
    samples=(
        Sample(id="s1", image_id="i1", question="Is it big?", references=("Yes",), tags={"answer_type": "CLOSED"}),
    ),
)
TYPES: tuple[Any, ...] = (True, 5, None, "", [], {}, math.nan, 10**400, [None])
MORE: tuple[Any, ...] = (
    False, 0, -1, 1.5, math.inf, " ", "x", "x" * 5000, "\ud83d", "a\x00\x1b[2J", [[]], [True], [{}], ["a", "b"],
    {"": None}, {"a": {"b": [1]}}, [[["x"]]],
)  # fmt: skip
QUESTION, GOLD, ANSWER = "Is it big?", "Yes", "yes"
INSPECT_SAMPLE = {
    "id": "s1",
    "epoch": 1,
    "input": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
    "target": GOLD,
    "metadata": {"image": "i1", "n": 1},
    "attachments": {"abc": "long"},
    "error": None,
    "limit": {"type": "token"},
    "output": {
        "completion": ANSWER,
        "time": 0.5,
        "error": None,
        "usage": {"output_tokens": 3},
        "choices": [
            {
                "stop_reason": "stop",
                "message": {"content": [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": ANSWER}]},
            }
        ],
    },
}
# One whole file a format, with every field that its reader looks at.
FILES: dict[str, Any] = {
    "evalkit": [
        {
            "sample_id": "s1",
            "image_id": "i1",
            "question": QUESTION,
            "references": [GOLD],
            "text": ANSWER,
            "error": None,
            "finish_reason": "stop",
            "n_tokens": 3,
            "seconds": 0.5,
            "fingerprint": "f",
            "reasoning": "hm",
            "raw": None,
        }
    ],
    "llava-med": [{"question_id": "s1", "prompt": QUESTION, "text": ANSWER, "answer_id": "a", "metadata": {}}],
    "lm-eval": [
        {
            "doc_id": 0,
            "doc": {"question": QUESTION, "answer": GOLD},
            "target": GOLD,
            "resps": [[ANSWER]],
            "filtered_resps": [ANSWER],
            "filter": "none",
            "finish_reason": "stop",
            "error": None,
        }
    ],
    "lmms-eval": [
        {
            "doc_id": 0,
            "target": GOLD,
            "input": [{"role": "user", "content": QUESTION}],
            "resps": [[ANSWER]],
            "filtered_resps": [ANSWER],
            "token_counts": [{"output_tokens": 3}],
            "reasoning": "hm",
        }
    ],
    "vlmevalkit": [
        {
            "index": 0,
            "question": QUESTION,
            "answer": GOLD,
            "prediction": ANSWER,
            "thinking": "hm",
            "stop_reason": "stop",
        }
    ],
    "medevalkit": [{"question": QUESTION, "answer": GOLD, "response": ANSWER, "correct": True, "error": {"code": 1}}],
    "medvlmbench": [
        {"image_path": "i1.png", "question_type": "open", "qs": QUESTION, "answer": GOLD, "prediction": ANSWER}
    ],
    "intelliscope": [
        {
            "id": "i1.png",
            "image": "i1.png",
            "conversations": [
                {"from": "human", "value": f"<image>\n{QUESTION}"},
                {"from": "gpt", "value": GOLD},
                {"from": "prediction", "value": ANSWER},
            ],
        }
    ],
    "inspect": {"version": 2, "status": "success", "eval": {"task": "t"}, "samples": [INSPECT_SAMPLE]},
    "helm": {
        "adapter_spec": {},
        "request_states": [
            {
                "instance": {
                    "id": "s1",
                    "perturbation": None,
                    "extra_data": {"image": "i1"},
                    "references": [{"output": {"text": GOLD}, "tags": ["correct"]}],
                    "input": {
                        "text": "",
                        "multimedia_content": {"media_objects": [{"text": QUESTION, "location": "i1.png"}]},
                    },
                },
                "result": {
                    "success": True,
                    "error": None,
                    "request_time": 0.5,
                    "completions": [
                        {
                            "text": ANSWER,
                            "tokens": [{"text": "yes"}],
                            "finish_reason": {"reason": "stop"},
                            "thinking": {"text": "hm"},
                        }
                    ],
                },
            }
        ],
    },
    "evalscope": [
        {
            "index": 0,
            "model": "m",
            "model_output": INSPECT_SAMPLE["output"],
            "messages": INSPECT_SAMPLE["input"],
            "metadata": {"qid": "s1"},
        },
    ],
    "lighteval": [
        {
            "doc": {"query": QUESTION, "choices": [GOLD], "gold_index": [0], "id": "0", "specific": {"qid": "s1"}},
            "model_response": {"text": [ANSWER], "logprobs": []},
            "metric": {"em": 1.0},
        }
    ],
    "karma": [
        {
            "cache_key": "k",
            "dataset_name": "d",
            "dataset_row_metadata": '{"id": "s1"}',
            "dataset_row_hash": "h",
            "model_output": ANSWER,
            "ground_truth_output": GOLD,
            "config_hash": "c",
        }
    ],
    "plain": {
        "model": "m",
        "predictions": [{"id": "s1", "question": QUESTION, "prediction": ANSWER, "reference": GOLD}],
    },
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value in a JSON value, the whole one first."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


def archive(header: Any, *samples: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("header.json", json.dumps(header))
        for number, sample in enumerate(samples):
            made.writestr(f"samples/{number}_epoch_1.json", json.dumps(sample))
    return out.getvalue()


def check(path: Path, content: bytes, name: str) -> None:
    """The file is read and joined, or refused by an error of evalkit that names it; what is read can be kept."""
    path.write_bytes(content)

    def read() -> None:
        file = read_answers(path, format=name)
        assert file.answers and all(len(note) < 500 for note in file.notes)
        for answer in file.answers:
            assert answer.n_tokens is None or (type(answer.n_tokens) is int and 0 <= answer.n_tokens < 2**63)
            assert answer.seconds is None or math.isfinite(answer.seconds)
            assert name == "evalkit" or len(answer.error or "") < 600
        for prediction in value_or_error(lambda: join(file, TASK).predictions) or ():
            json.dumps(prediction.text).encode()

    value_or_error(read, path.name)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("types") / "answers.json"


def test_every_format_has_a_file_that_is_read(path: Path) -> None:
    assert set(FILES) == set(FORMATS)
    for name, file in FILES.items():
        for form in ("auto", name):
            path.write_text(json.dumps(file), encoding="utf-8")
            found = read_answers(path, format=form)
            assert (found.format, [a.text for a in found.answers]) == (name, [ANSWER])


def check_types(path: Path, name: str, types: tuple[Any, ...]) -> None:
    for place in places(FILES[name]):
        for new in types:
            check(path, json.dumps(replaced(FILES[name], place, new)).encode(), name)


def check_archives(path: Path, types: tuple[Any, ...]) -> None:
    header = {"status": "success", "eval": {}}
    for new in types:
        for place in places(header):
            check(path, archive(replaced(header, place, new), INSPECT_SAMPLE), "inspect")
        for place in places(INSPECT_SAMPLE):
            check(path, archive(header, replaced(INSPECT_SAMPLE, place, new)), "auto")


@pytest.mark.few(3)
@pytest.mark.parametrize("name", FILES)
def test_every_field_as_every_type(name: str, path: Path) -> None:
    check_types(path, name, TYPES)


def test_every_field_of_an_archive_as_every_type(path: Path) -> None:
    check_archives(path, TYPES)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_field_as_further_values_and_recognised_by_content(name: str, path: Path) -> None:
    check_types(path, name, MORE)
    for place in places(FILES[name]):
        for new in TYPES + MORE:
            check(path, json.dumps(replaced(FILES[name], place, new)).encode(), "auto")


@pytest.mark.slow
def test_every_field_of_an_archive_as_further_values(path: Path) -> None:
    check_archives(path, MORE)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_one_format_read_as_another(name: str, path: Path) -> None:
    for other in FILES.values():
        check(path, json.dumps(other).encode(), name)
    check(path, archive({"status": 5}, INSPECT_SAMPLE), name)
    check(path, archive([], 5), name)
    check(path, archive({}), name)


@pytest.mark.few(3)
@pytest.mark.parametrize("samples", [True, 5, None, "", "x", [], {}, {"a": 1}, [5], [None], [[]], math.nan], ids=str)
def test_samples_of_another_type_end_the_command(
    samples: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "log.json"
    file.write_text(json.dumps({"samples": samples, "eval": {}}), encoding="utf-8")
    assert main(["score", f"predictions={file}", "task=phantom", "format=inspect", f"out={tmp_path / 'runs'}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "log.json" in err and "Traceback" not in err


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(st.sampled_from(sorted(FILES)), GRAFTS, st.booleans())
def test_several_fields_at_once(path: Path, name: str, grafts: Any, auto: bool) -> None:
    check(path, json.dumps(grafted(FILES[name], grafts)).encode(), "auto" if auto else name)
