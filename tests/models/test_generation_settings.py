"""Decoding settings that no engine can follow are refused before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.core.errors import ConfigError
from evalkit.models.generation_presets import check_settings, choose_preset


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_new_tokens", 0), ("max_new_tokens", -1), ("max_new_tokens", 1.5), ("max_new_tokens", "abc"),
        ("max_new_tokens", None), ("max_new_tokens", True), ("temperature", -0.1), ("temperature", float("nan")),
        ("temperature", float("inf")), ("temperature", "hot"), ("top_p", 0), ("top_p", 1.01), ("top_p", -1),
        ("top_p", float("nan")), ("top_k", 0), ("top_k", -1), ("num_beams", 0), ("repetition_penalty", 0),
        ("repetition_penalty", -1), ("repetition_penalty", float("inf")), ("stop", ""), ("stop", ["", "###"]),
        ("seed", -1), ("seed", 2**63), ("seed", 0.5), ("foo", 1),
        ("n", 0), ("n", -1), ("n", 1.5), ("reasoning_budget", 0), ("reasoning_budget", -3), ("reasoning_budget", 1.5),
        ("reasoning_overflow", "cut"), ("reasoning", "high"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_possible_is_named_with_what_is_expected(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"generation\.{key}"):
        check_settings({key: value}, "generation")


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("max_new_tokens", 1, 1), ("temperature", 0, 0.0), ("temperature", 2, 2.0), ("top_p", 1, 1.0),
        ("top_k", None, None),
        ("top_k", 1, 1), ("num_beams", 1, 1), ("repetition_penalty", 1.2, 1.2),
        ("stop", "###", ("###",)), ("stop", [], ()),
        ("seed", 0, 0), ("seed", 2**63 - 1, 2**63 - 1), ("n", 1, 1),
        ("reasoning_budget", None, None), ("reasoning_budget", 1, 1),
    ],
)  # fmt: skip
def test_a_possible_value_is_taken_as_it_is(key: str, value: Any, found: Any) -> None:
    assert check_settings({key: value}, "generation") == {key: found}


def test_an_overflow_rule_without_a_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match="reasoning_budget is not set"):
        choose_preset({"a": {"reasoning_overflow": "fail"}}, "a")
    assert choose_preset({"a": {"reasoning_overflow": "fail", "reasoning_budget": 4}}, "a").reasoning_overflow == "fail"
