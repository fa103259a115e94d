"""Files of others that the judge reads, damaged or made up: values, or one paragraph."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from evalkit.core.errors import JudgeError
from evalkit.judge.batch import collect
from evalkit.judge.cache import ReplyCache
from evalkit.judge.human_labels import read_labels
from evalkit.judge.import_reviews import read_reviews
from tests.support.fuzzing import EDITS, GRAFTS, edited, examples, grafted_file, read_file, value_or_error


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def output(path: Path) -> Any:
    """The replies in a batch's output, of which one request is known."""
    plan = SimpleNamespace(calls={"k": ()}, config=SimpleNamespace(api_key_env=None))
    return collect(path.parent, plan)  # type: ignore[arg-type]


BODY = {"choices": [{"message": {"content": "8 7"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
# Of each kind of file: its name, a valid content, its reader.
KINDS: dict[str, tuple[str, bytes, Callable[[Path], Any]]] = {
    "labels": (
        "labels.jsonl",
        lines({"sample_id": "1", "label": "correct", "rater": "a"}, {"sample_id": "2", "label": 0, "judge": "wrong"}),
        read_labels,
    ),
    "labels, CSV": (
        "labels.csv",
        b'sample_id,label,rater,image_id\n1,8,"a, b",i\n2,cannot_tell,,j\n3,"7.5","x\ny",\n',
        read_labels,
    ),
    "reviews, LLaVA-Med": (
        "reviews.jsonl",
        lines({"question_id": 1, "gpt_eval": "8 7\nWell.", "type": "conversation", "domain": {"mri": True}}),
        read_reviews,
    ),
    "reviews, LLaVA": (
        "reviews.jsonl",
        lines({"question_id": "a", "tuple": [8.0, 7], "content": "8 7", "category": "conv"}),
        read_reviews,
    ),
    "batch": (
        "output.jsonl",
        lines({"custom_id": "k", "response": {"status_code": 200, "body": BODY}, "error": None}, {"custom_id": "x"}),
        output,
    ),
}
FUZZED = settings(max_examples=examples(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
every_kind = pytest.mark.parametrize("kind", KINDS)


def check(kind: str, content: bytes, tmp_path: Path) -> None:
    name, _, reader = KINDS[kind]
    read_file(tmp_path / name, content, reader)


@every_kind
@FUZZED
@given(edits=EDITS)
def test_an_edited_file(kind: str, tmp_path: Path, edits: Any) -> None:
    check(kind, edited(KINDS[kind][1], edits), tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "CSV" not in kind])
@FUZZED
@given(grafts=GRAFTS)
def test_a_file_with_other_values(kind: str, tmp_path: Path, grafts: Any) -> None:
    check(kind, grafted_file(KINDS[kind][1], grafts, lines=True), tmp_path)


@every_kind
@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00", b'{"a": ' * 100_000, b'{"sample_id": "1", "label": ' + b"9" * 5000 + b"}",
        b'a\n"' + b"x" * 200_000, b"\x00",
    ],
    ids=["no UTF-8", "deep", "long number", "long cell", "zero"],
)  # fmt: skip
def test_a_file_of_odd_content(kind: str, content: bytes, tmp_path: Path) -> None:
    check(kind, content, tmp_path)


KEYS = [f"{k:064x}" for k in range(200)]


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A cache of 200 replies."""
    path = tmp_path_factory.mktemp("cache") / "replies.sqlite"
    cache = ReplyCache(path)
    cache.put((key, {"text": "8 7", "n": n}) for n, key in enumerate(KEYS))
    cache.close()
    return path.read_bytes()


@FUZZED
@given(edits=EDITS)
def test_an_edited_cache(cached: bytes, tmp_path: Path, edits: Any) -> None:
    path = tmp_path / "replies.sqlite"
    for leftover in tmp_path.iterdir():
        leftover.unlink()
    path.write_bytes(edited(cached, edits))
    if (cache := value_or_error(lambda: ReplyCache(path), path.name)) is None:
        return
    for key in KEYS[::20]:
        found = value_or_error(lambda key=key: cache.get(key), path.name)  # type: ignore[misc]
        assert found is None or isinstance(found, dict)
    cache.close()


@pytest.mark.parametrize("stored", ["[1]", "8", "{", "[" * 100_000], ids=["list", "number", "cut", "deep"])
def test_a_cached_reply_that_is_none(tmp_path: Path, stored: str) -> None:
    cache = ReplyCache(tmp_path / "replies.sqlite")
    with sqlite3.connect(cache.path) as db:
        db.execute("INSERT OR REPLACE INTO replies VALUES ('k', ?)", (stored,))
    db.close()
    with pytest.raises(JudgeError, match=r"replies\.sqlite cannot be used"):
        cache.get("k")
    cache.close()
