"""JSON of other programs: doubled keys and lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import StoreError
from evalkit.core.files import read_json
from evalkit.core.json_text import DoubledKeyError, TooDeepError, decoder, lines_of, loads


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}', '[{"b": {"a": "x", "c": 1, "a": "y"}}]', '{"a": 1, "a": true}', '{"a": 1, "a": 1.0}',
        '{"a": 1, "a": 1}', '{"a": [1], "b": 2, "a": [1]}', '[{"b": {"a": null, "a": null}}]', '{"a": "", "a": ""}',
        '{"a": 1, "\\u0061": 1}', '{"a": NaN, "a": NaN}',
    ],
)  # fmt: skip
def test_a_key_twice_is_an_error_that_names_it(text):
    with pytest.raises(DoubledKeyError, match="the key 'a' occurs twice in one object, with "):
        loads(text)
    with pytest.raises(DoubledKeyError):
        decoder().raw_decode(text)


def test_equal_keys_of_two_objects_are_fine():
    assert loads('[{"a": 1}, {"a": 2}]') == [{"a": 1}, {"a": 2}]


DEEP = 100_000


@pytest.mark.parametrize(
    "text", ["[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP], ids=["cut", "lists", "objects"]
)
@pytest.mark.parametrize("more", [{}, {"parse_constant": lambda _: None}], ids=["", "constants"])
def test_json_that_is_too_deep_is_an_error_of_its_own(text, more):
    with pytest.raises(TooDeepError, match="nested too deeply"):
        loads(text, **more)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES)
def test_other_json_is_read_as_json_reads_it(value):
    assert loads(json.dumps(value)) == value


@pytest.mark.parametrize("text", ['{"value": 0.5, "value": 0.6}', '{"value": 0.5, "value": 0.5}'])
def test_a_file_with_a_doubled_key_is_refused_by_name(text, tmp_path):
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"baseline\.json.*'value' occurs twice"):
        read_json(path, "baseline")


def test_lines_end_at_line_breaks_only():
    assert lines_of("a\u2028b\x0bc\x0cd\x85e\r\nf\rg\n") == ["a\u2028b\x0bc\x0cd\x85e", "f", "g", ""]
