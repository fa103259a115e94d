"""Presets of servers (`conf/provider/NAME.yaml`): address, key variable, departures from the interface."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from evalkit.clients.budget import Price
from evalkit.clients.server_settings import ADDRESS, Api
from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.setting_types import argument_kinds, parse_setting

# Keys of a preset's YAML for readers alone.
_FOR_READERS = ("about", "sources")
# The switch of OpenAI's interface.
_REASONING = {"enabled": {"reasoning_effort": "medium"}, "disabled": {"reasoning_effort": "none"}}
# Stands for the number of tokens in `reasoning.budget`.
BUDGET = "BUDGET"
KEY_HEADERS = ("Authorization", "api-key", "x-api-key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A server's preset; the default is a server that follows the interface.

    Args:
        name: as in `engine.provider=NAME`; empty without a preset.
        url: up to and including what stands before `/chat/completions`; None where each user has another.
        url_form: how an address looks where each user has another.
        url_env: environment variable with the address, which takes the place of `url`.
        api_key_env: environment variable with the key; None for a server without keys.
        drop: parameters that the server refuses or ignores, which are not sent.
        rename: parameter -> its name on this server.
        neutral: parameter -> the value that switches it off, where that is not the one of vLLM.
        extra_body: further parameters of each request.
        reasoning: parameters that make a model think (`enabled`) or not (`disabled`), or give its thought a `budget`
            of tokens, whose number stands where they have BUDGET; what is not there is not possible.
        chat_path, query, key_header: see `Api`.
        lists_models: whether GET /models with the key lists the models that can be asked.
        list_prefix: what the ids in that list have before the names that are asked for.
        describes_weights: whether to ask for the endpoints by which self-hosted servers describe their weights.
        one_model: the server answers with the model that it has loaded, whatever name is asked for.
        batch: whether it has OpenAI's batch interface (`/files`, `/batches`).
        notes: what a reader of the numbers must know, said once.
        prices: model -> {input, output, date, source, batch_factor}, in USD per million tokens.
    """

    name: str = ""
    url: str | None = None
    url_form: str | None = None
    url_env: str | None = None
    api_key_env: str | None = None
    drop: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    neutral: Mapping[str, Any] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    reasoning: Mapping[str, Any] = field(default_factory=lambda: dict(_REASONING))
    chat_path: str = "/chat/completions"
    query: Mapping[str, str] = field(default_factory=dict)
    key_header: str = "Authorization"
    lists_models: bool = True
    list_prefix: str = ""
    describes_weights: bool = True
    one_model: bool = False
    batch: bool = True
    notes: Sequence[str] = ()
    prices: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Provider:
        """Read the content of a preset's YAML.

        Raises:
            ConfigError: a key is not one of a preset, or has another type.
        """
        where = f"provider {content.get('name', '')}".strip()
        known, kinds = [f.name for f in fields(cls)], argument_kinds(cls)
        given = {key: value for key, value in content.items() if key not in _FOR_READERS}
        for key in given:
            if key not in known:
                raise ConfigError(f"{where}: {key!r} is not a setting of a preset. {did_you_mean(str(key), known)}")
        typed = {key: parse_setting(value, kinds[key], f"provider.{key}") for key, value in given.items()}
        provider = cls(**typed)
        # An address or a header in their place would send the key to somebody else.
        if not re.fullmatch(r"(/[\w{}.-]*[\w{}-])+", provider.chat_path) or ".." in provider.chat_path:
            raise ConfigError(
                f"{where}: chat_path={provider.chat_path[:80]!r} is not a path such as /chat/completions."
            )
        if provider.key_header not in KEY_HEADERS:
            raise ConfigError(f"{where}: key_header must be one of {', '.join(KEY_HEADERS)}.")
        provider.price_of("")  # prices are checked before they are needed
        return provider

    def thinking(self, wanted: str, budget: int | None) -> dict[str, Any]:
        """Parameters of each request for generation.reasoning and generation.reasoning_budget.

        Raises:
            ConfigError: this server has no such switch.
        """
        keys = {"auto": [], "on": ["enabled"], "off": ["disabled"]}[wanted]
        if budget is not None and wanted != "off":
            keys = ["budget"]
        if missing := [key for key in keys if not self.reasoning.get(key)]:
            setting = f"reasoning_budget={budget}" if missing == ["budget"] else f"reasoning={wanted}"
            names = {"enabled": "reasoning=on", "disabled": "reasoning=off", "budget": "reasoning_budget"}
            known = ", ".join(f"generation.{name}" for key, name in names.items() if self.reasoning.get(key)) or "none"
            raise ConfigError(
                f"generation.{setting} is not possible with engine.provider={self.name or 'null'}: its interface has "
                f"no parameter for it (known here: {known}). Leave it out, or give the server's own parameter with "
                "engine.extra_body."
            )
        found: dict[str, Any] = _filled(self.reasoning[keys[0]], budget) if keys else {}
        return found

    @property
    def address(self) -> str:
        """What to do where the preset has no address; empty where it has one, or is none."""
        if not self.name or self.url:
            return ""
        variable = f", or the environment variable {self.url_env}" if self.url_env else ""
        return (
            f"with engine.provider={self.name} each user has an address of their own: set "
            f"engine.url={self.url_form or ADDRESS}{variable}"
        )

    def api(self, api_version: str | None = None) -> Api:
        """Paths and headers.

        Raises:
            ConfigError: an API version for a server without one.
        """
        query = dict(self.query)
        if api_version is not None:
            if "api-version" not in query:
                raise ConfigError(
                    "engine.api_version is for servers with dated versions of their interface "
                    f"(engine.provider=azure), not for {self.name or 'this one'}; leave it out."
                )
            query["api-version"] = api_version
        return Api(chat_path=self.chat_path, query=query, key_header=self.key_header)

    def price_of(self, model: str) -> Price | None:
        """The price of a model's tokens; None where it is unknown.

        Raises:
            ConfigError: a price is not valid.
        """
        for name, content in self.prices.items():
            valid = isinstance(content, Mapping) and all(
                isinstance(content.get(key), int | float) and content[key] >= 0 for key in ("input", "output")
            )
            if not valid or not content.get("date"):
                raise ConfigError(
                    f"provider {self.name}: prices.{name} must have input and output (USD per million tokens) and the "
                    "date of these prices."
                )
        found = self.prices.get(model)
        return None if found is None else Price.of(found)


def given_price(per_million: Sequence[float] | None) -> Price | None:
    """The price that the user gives as `engine.price_per_million=[input,output]`; None where none is given.

    Raises:
        ConfigError: it is not two prices.
    """
    if per_million is None:
        return None
    if len(per_million) != 2 or any(price < 0 for price in per_million):
        raise ConfigError(
            f"engine.price_per_million={list(per_million)} is not possible: expected two prices in USD per million "
            "tokens, of the prompt and of the answer, such as [2.5,10]."
        )
    return Price(input=per_million[0], output=per_million[1])


def _filled(content: Any, budget: int | None) -> Any:
    """Parameters with the budget in its place."""
    if isinstance(content, Mapping):
        return {key: _filled(value, budget) for key, value in content.items()}
    return budget if content == BUDGET else content
