"""Settings are checked against annotations, and text stays text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import ConfigError
from evalkit.core.setting_types import argument_kinds, describe, is_text, parse_setting

if TYPE_CHECKING:
    from evalkit.core.types import Sample


@pytest.mark.parametrize(
    ("value", "kind", "parsed"),
    [
        (None, int | None, None),
        (3, int, 3),
        (3, float, 3),
        (0.5, float | None, 0.5),
        (True, bool, True),
        ("x", str, "x"),
        ("", str | None, ""),
        (7, str, "7"),
        (1.5, str | None, "1.5"),
        (False, str, "false"),
        (None, str | None, None),
        (True, str | bool, True),
        (4, str | int, 4),
        ([1, 2], Sequence[int], [1, 2]),
        ([1, "a"], Sequence[str], ["1", "a"]),
        ([], tuple[str, ...], []),
        ("a", str | Sequence[str], "a"),
        ({"a": 1}, Mapping[str, Any], {"a": 1}),
        ({"a": 1}, Mapping[str, str], {"a": "1"}),
        ("off", Literal["auto", "off"], "off"),
        ({"a": object}, object, {"a": object}),
    ],
)
def test_a_value_of_its_type_is_taken(value: Any, kind: Any, parsed: Any) -> None:
    found = parse_setting(value, kind, "x")
    assert found == parsed and type(found) is type(parsed)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, int, "a whole number"),
        (None, str, "a text"),
        ("3", int, "a whole number"),
        (True, int, "a whole number"),
        (3.0, int | None, "a whole number or null"),
        (float("nan"), float, "a number"),
        (float("inf"), float, "a number"),
        (10**400, float, "a number"),
        (True, float, "a number"),
        (1, bool, "true or false"),
        ("true", bool, "true or false"),
        ([1], str, "a text"),
        ({"a": 1}, str | None, "a text or null"),
        ("1,2", Sequence[int], "a list, each a whole number"),
        ([1, "x"], Sequence[int], "a list, each a whole number"),
        ([[1]], Sequence[str], "a list, each a text"),
        ([1], Mapping[str, Any], "a mapping"),
        ({"a": "x"}, Mapping[str, float], "a mapping"),
        ("of", Literal["auto", "off"], "Did you mean 'off'"),
    ],
)
def test_any_other_value_is_refused_with_what_was_expected(value: Any, kind: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_setting(value, kind, "group.key")
    text = str(caught.value)
    assert text.startswith("group.key=") and expected in text and "\n" not in text


@given(st.one_of(st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False)))
def test_a_scalar_is_always_a_text(value: Any) -> None:
    assert isinstance(parse_setting(value, str | None, "x"), str)


class Base:
    def __init__(self, *, name: str, size: int | None = None, **rest: Any) -> None:
        self.name, self.size = name, size


class Derived(Base):
    def __init__(self, *, path: str | None = None, sample: Sample | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.path, self.sample = path, sample


@dataclass
class Data:
    count: int = 1
    words: Sequence[str] = ()


def function(*, flag: bool = False, plain=None) -> str:  # type: ignore[no-untyped-def]
    return f"{flag}{plain}"


def test_the_types_of_arguments_are_found_through_base_classes_and_unknown_names_are_left_out() -> None:
    assert argument_kinds(Derived).items() >= {"name": str, "size": int | None, "path": str | None}.items()
    assert "sample" not in argument_kinds(Derived)  # its type is imported for type checkers only
    assert argument_kinds(Data) == {"count": int, "words": Sequence[str]}
    assert argument_kinds(function) == {"flag": bool}


def test_types_in_words() -> None:
    assert describe(str | Sequence[str] | None) == "a text or a list, each a text or null"
    assert is_text(str | None) and not is_text(str | bool) and not is_text(Sequence[str])
