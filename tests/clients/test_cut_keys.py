"""A key at the place where a text is cut is replaced before the cut."""

from __future__ import annotations

import json

import pytest

from evalkit.clients.openai_client import CallFailed
from evalkit.clients.redaction import redactor
from evalkit.clients.response import read_json

KEY = "sk-canary-KEY-0123456789abcdef"


@pytest.mark.parametrize("before", range(20, 80, 3))
def test_no_part_of_a_doubled_key_or_value_is_quoted(before: int) -> None:
    redact = redactor(KEY)
    for body in (
        '{"a": "' + "x" * before + KEY + '", "a": "z"}',
        '{"' + "x" * before + KEY + '": 1, "' + "x" * before + KEY + '": 2}',
    ):
        with pytest.raises(ValueError, match="twice"):
            from evalkit.core import json_text

            json_text.loads(body)
        with pytest.raises(CallFailed) as caught:
            read_json(body.encode(), redact)
        assert KEY[:12] not in str(caught.value)


@pytest.mark.parametrize("missing", [0, 1, 5])
def test_no_part_of_a_key_at_the_end_of_what_is_read_is_quoted(missing: int) -> None:
    body = " " * (10_000 - len(KEY) + missing) + KEY
    with pytest.raises(CallFailed) as caught:
        read_json(body.encode(), redactor(KEY))
    assert KEY[:12] not in str(caught.value)
    assert json.dumps(KEY)
