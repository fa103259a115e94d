"""Columns hold what was added to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.columns import OptionalValues, PackedTexts, SharedValues

VALUES = st.lists(st.none() | st.sampled_from(["", "yes", "Röntgen", "\x00", "ÿ", "\ud800"]), max_size=6)


@pytest.mark.parametrize("kind", [OptionalValues, PackedTexts])
@given(VALUES)
def test_what_was_added_comes_out(
    kind: type[OptionalValues[str]] | type[PackedTexts], values: list[str | None]
) -> None:
    column = kind()
    for value in values:
        column.append(value)
    n = len(values)
    assert (list(column), len(column)) == (values, n)
    assert [column[k] for k in range(-n, n)] == [values[k] for k in range(-n, n)]
    assert column[1:] == values[1:] and column[::-1] == values[::-1]
    assert (None in column) == (None in values)
    for place in (n, -n - 1):
        with pytest.raises(IndexError):
            column[place]


def test_equal_values_are_one_object_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.core.columns._MOST", 2)
    shared, texts = SharedValues(), ["first", "second", "third"]
    for text in texts:
        assert shared.once(text) is text
    copies = [text.encode().decode() for text in texts]
    assert [shared.once(copy) is text for copy, text in zip(copies, texts, strict=True)] == [True, True, False]
