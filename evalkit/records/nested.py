"""Records inside a JSON object: lists below one or more levels of keys, and questions written as conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalkit.records.base import BadCell, Record

# A column of this name holds the turns of a conversation.
TURNS = "conversations"
_ASKS = ("human", "user")
_ANSWERS = ("gpt", "assistant")
_MARK = "<image>"


def nested_records(whole: Mapping[str, Any]) -> tuple[Record, ...]:
    """The records of an object whose leaves are lists of objects, all at one depth; empty for any other object.

    The keys above a record's list are its columns key_1, key_2 ...

    >>> [dict(r.fields) for r in nested_records({"a": {"test": [{"q": 1}]}, "b": {"test": []}})]
    [{'key_1': 'a', 'key_2': 'test', 'q': 1}]
    """
    found = list(_leaves(whole, ()))
    depths = {len(keys) for keys, _ in found}
    is_table = all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for _, rows in found)
    if len(depths) != 1 or not is_table:
        return ()
    rows = [
        {**{f"key_{k}": key for k, key in enumerate(keys, 1)}, **fields} for keys, listed in found for fields in listed
    ]
    return tuple(Record(row=number, fields=fields) for number, fields in enumerate(rows, 1))


def _leaves(node: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from _leaves(child, (*keys, str(key)))
    else:
        yield keys, node


def with_turns(record: Record) -> Record:
    """A record whose conversation of one question and one answer is two columns, `question` and `answer`.

    With other turns both columns hold what is wrong, which reading them raises.
    """
    question, answer = _turns(record.fields.get(TURNS))
    fields = {name: value for name, value in record.fields.items() if name != TURNS}
    return Record(row=record.row, fields={**fields, "question": question, "answer": answer})


def _turns(value: Any) -> tuple[Any, Any]:
    turns = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(turns, Sequence) or not all(isinstance(turn, Mapping) for turn in turns):
        return (BadCell("conversations is no list of turns."),) * 2
    said = {side: [_text(t) for t in turns if _who(t) in names] for side, names in (("q", _ASKS), ("a", _ANSWERS))}
    if len(turns) != 2 or len(said["q"]) != 1 or len(said["a"]) != 1:
        who = ", ".join(_who(turn) or "?" for turn in turns)
        return (BadCell(f"conversations has the turns {who}; expected one of human and one of gpt."),) * 2
    return _without_first_mark(said["q"][0]), said["a"][0]


def _without_first_mark(text: Any) -> Any:
    """A question without the one image mark in front, which says what holds without it: the image comes first."""
    is_only = isinstance(text, str) and text.startswith(_MARK) and text.count(_MARK) == 1
    return text[len(_MARK) :].lstrip() if is_only else text


def _who(turn: Mapping[str, Any]) -> str:
    return str(turn.get("from", turn.get("role", "")))


def _text(turn: Mapping[str, Any]) -> Any:
    return turn.get("value", turn.get("content"))
