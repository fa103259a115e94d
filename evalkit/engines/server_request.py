"""Settings of engine=server: checked, and turned into what each request has and leaves out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.clients.budget import Price
from evalkit.clients.parameters import SUCCESSORS, Parameters
from evalkit.clients.providers import Provider, given_price
from evalkit.clients.server_settings import server_label
from evalkit.core import console
from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.engines import chat_format
from evalkit.models.checkpoint import CheckpointSpec


def model_id(spec: CheckpointSpec, given: str | None) -> str:
    """The model's id on the server.

    Raises:
        ConfigError: neither the setting nor the model's YAML has one.
    """
    found = given or spec.config.get("served_as") or spec.config.get("source")
    if not found:
        raise ConfigError(
            f"{spec.name} has no source that could be its id on the server; set engine.served_model=ID to the id in "
            "the server's list of models."
        )
    return str(found)


def extra_parameters(
    spec: CheckpointSpec, send_template: bool, extra_body: Mapping[str, Any] | None, provider: Provider
) -> dict[str, Any]:
    """Parameters of each request that decoding settings do not have.

    Raises:
        ConfigError: one of them is a decoding setting, or there is no template to send.
    """
    given = dict(extra_body or {})
    reserved = chat_format.STANDARD | {"top_k", "repetition_penalty", "chat_template", "n", "stream"}
    if taken := sorted(reserved & set(given)):
        raise ConfigError(
            f"engine.extra_body may not contain {', '.join(taken)}: decoding is set by the model's YAML "
            "(generation=NAME), the template by engine.send_template."
        )
    g = spec.generation
    if g.reasoning_budget is not None and g.reasoning_overflow == "fail":
        raise ConfigError(
            "generation.reasoning_overflow=fail is not possible with engine=server: the server closes a thought that "
            "reaches its budget itself. Leave it out, or use engine=hf."
        )
    switch = provider.thinking(g.reasoning, g.reasoning_budget)
    if taken := sorted(set(switch) & set(given)):
        raise ConfigError(
            f"engine.extra_body has {taken[0]}, which generation.reasoning or its budget sets too. Leave one out."
        )
    extra = {**provider.extra_body, **switch, **given}
    if not send_template:
        return extra
    if spec.chat_template is None:
        raise ConfigError(
            f"engine.send_template=true: {spec.name} has no chat template in its YAML (chat_template), so there is "
            "none to send; without the setting, the server uses the checkpoint's template."
        )
    return {**extra, "chat_template": spec.chat_template}


def decoding(spec: CheckpointSpec, provider: Provider) -> dict[str, Any]:
    """Decoding settings under the interface's names, with the values that this server takes as neutral ones."""
    found = chat_format.parameters(spec.generation)
    if spec.generation.top_k is None and "top_k" in found:
        found |= {name: value for name, value in provider.neutral.items() if name == "top_k"}
    return found


def make_parameters(spec: CheckpointSpec, provider: Provider, drop: Sequence[str]) -> Parameters:
    """What is left out of each request from the start, and what may be left out once the server refuses it.

    Raises:
        ConfigError: `engine.drop` names something that is not sent.
    """
    for name in drop:
        if name not in chat_format.DROPPABLE:
            raise ConfigError(
                f"engine.drop={name} is not possible: expected parameters that evalkit sends. "
                f"{did_you_mean(name, chat_format.DROPPABLE)}"
            )
    renamed = dict(provider.rename) | {name: SUCCESSORS[name] for name in drop if name in SUCCESSORS}
    return Parameters(
        dispensable=chat_format.dispensable(spec.generation),
        dropped={name for name in (*provider.drop, *drop) if name not in SUCCESSORS},
        renamed=renamed,
        say=lambda text: console.note(f"note: engine=server: {text}"),
    )


def find_price(
    provider: Provider, model: str, per_million: Sequence[float] | None, budget_usd: float | None
) -> Price | None:
    """The price of the model's tokens; None where it is unknown.

    Raises:
        ConfigError: there is a budget and no price.
    """
    price = given_price(per_million) or provider.price_of(model)
    if budget_usd is not None and price is None:
        raise ConfigError(
            f"engine.budget_usd={budget_usd:g} cannot be kept: the price of {model} is unknown. Give it in USD per "
            "million tokens of prompt and answer, engine.price_per_million=[INPUT,OUTPUT]."
        )
    return price


def read_key(name: str | None, url: str) -> str | None:
    """The API key from the environment; None for a server without keys.

    Raises:
        ConfigError: the variable is not set.
    """
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"engine=server needs a key for {server_label(url)}, but the environment variable {name} is not set. Set "
            "the variable (never put the key on the command line or in a YAML), or name another variable with "
            "engine.api_key_env."
        )
    return key
