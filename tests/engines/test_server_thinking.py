"""Thinking on servers: each interface's own parameter, or a refusal that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalkit.cli import providers
from evalkit.clients.providers import Provider
from evalkit.core.errors import ConfigError
from evalkit.core.types import Generation
from evalkit.engines.chat_format import body, parameters
from evalkit.engines.server_request import extra_parameters
from evalkit.models.checkpoint import CheckpointSpec
from tests.support.server_engine import make_requests

ON, OFF, BUDGET = ({"reasoning": "on"}, {"reasoning": "off"}, {"reasoning_budget": 2048})
FLAG = "chat_template_kwargs"


def extra(provider: str | None, generation: dict[str, Any], given: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = CheckpointSpec(name="m", config={}, chat_template=None, generation=Generation(**generation))
    return extra_parameters(spec, False, given, Provider.of(providers.preset(provider) if provider else {}))


@pytest.mark.parametrize(
    ("provider", "generation", "sent"),
    [
        (None, {}, {}),
        (None, ON, {"reasoning_effort": "medium"}),
        (None, OFF, {"reasoning_effort": "none"}),
        (None, BUDGET, None),
        ("openai", ON, {"reasoning_effort": "medium"}),
        ("gemini", OFF, {"reasoning_effort": "none"}),
        ("vllm", ON, {FLAG: {"enable_thinking": True, "thinking": True}}),
        ("sglang", OFF, {FLAG: {"enable_thinking": False, "thinking": False}}),
        ("vllm", BUDGET, None),
        ("openrouter", ON, {"reasoning": {"enabled": True}}),
        ("openrouter", BUDGET, {"reasoning": {"max_tokens": 2048}}),
        ("openrouter", {**ON, **BUDGET}, {"reasoning": {"max_tokens": 2048}}),
        ("anthropic", ON, None),
        ("anthropic", BUDGET, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("anthropic", OFF, {"thinking": {"type": "disabled"}}),
        ("lmstudio", ON, None),
    ],
)
def test_every_interface_has_its_parameter_or_is_refused(
    provider: str | None, generation: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    if sent is None:
        with pytest.raises(ConfigError, match=r"generation\.reasoning.*engine\.provider="):
            extra(provider, generation)
        return
    before = extra(provider, {})
    assert extra(provider, generation) == {**before, **sent}


def test_a_budget_comes_on_top_of_the_limit_of_the_answer() -> None:
    assert parameters(Generation(max_new_tokens=64, reasoning_budget=2048))["max_tokens"] == 2112
    assert parameters(Generation(max_new_tokens=64))["max_tokens"] == 64


def test_a_budget_that_cuts_and_a_parameter_given_twice_are_refused() -> None:
    with pytest.raises(ConfigError, match="reasoning_overflow=fail"):
        extra("openrouter", {**BUDGET, "reasoning_overflow": "fail"})
    with pytest.raises(ConfigError, match="reasoning_effort"):
        extra("openai", ON, {"reasoning_effort": "high"})
    with pytest.raises(ConfigError, match=r"known here: generation\.reasoning=off, generation\.reasoning_budget\)"):
        extra("anthropic", ON)


def test_the_parameter_is_in_every_request(tmp_path: Path) -> None:
    request = make_requests(tmp_path, [1], Generation(reasoning="on"))[0]
    sent = body(request, ["data:"], "m", parameters(request.generation), extra("openai", ON))
    assert sent["reasoning_effort"] == "medium"
