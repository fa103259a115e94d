"""engine.provider=NAME and OPENAI_BASE_URL: the address of a server and the variable with its key, filled in.

A key goes where the command line, evalkit's own preset or the variable with the address names the server, and never to
an address that a config file has chosen (see `evalkit.cli.sent_settings`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.cli.code_settings import Node, is_typed
from evalkit.cli.command_words import typed_values
from evalkit.cli.config import config_dir, load_option
from evalkit.cli.sent_settings import key_refused
from evalkit.clients.server_settings import check_url
from evalkit.core import console
from evalkit.core.errors import ConfigError

# The variables of OpenAI's own tools: an address, and the key that belongs to it.
URL_VARIABLE, KEY_VARIABLE = "OPENAI_BASE_URL", "OPENAI_API_KEY"


def preset(name: str) -> dict[str, Any]:
    """The content of `conf/provider/NAME.yaml`, with its name.

    Raises:
        ConfigError: there is no such preset.
    """
    return {**load_option("provider", name), "name": name}


def with_providers(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration with the address and the key variable of the engine's server.

    Args:
        overrides: the `key=value` words of the command line.

    Raises:
        ConfigError: there is no such preset, or its key would go to an address that a config file has chosen.
    """
    typed = typed_values(overrides)
    result = dict(config)
    if isinstance(engine := config.get("engine"), Mapping):
        result["engine"] = _filled(Node("engine", engine), typed)
    if isinstance(engines := config.get("engines"), Mapping):
        result["engines"] = {
            name: _filled(Node(f"engines.{name}", settings), typed) if isinstance(settings, Mapping) else settings
            for name, settings in engines.items()
        }
    return result


def _filled(node: Node, typed: Mapping[str, Any]) -> dict[str, Any]:
    settings = dict(node.settings)
    is_server = "provider" in settings or (node.place == "engines.server")
    if not is_server:
        return settings
    name = settings.get("provider")
    if name is not None and not isinstance(name, str):
        raise ConfigError(f"{node.place}.provider={str(name)[:80]} is not possible: expected the name of a provider.")
    known = preset(name) if name else {"url_env": URL_VARIABLE}
    is_own = name is None or (config_dir() / "provider" / f"{name}.yaml").is_file()
    given = settings.get("url")
    if isinstance(given, str) and not given.strip():  # refused later; no other server may take its place
        return settings
    variable = known.get("url_env") if is_own and not given else None
    from_environment = os.environ.get(str(variable), "").strip() if variable else ""
    url = given or from_environment or known.get("url")
    if from_environment:
        check_url(from_environment, f"{node.place}.url", "engine=server")  # it is recorded, and must hold no password
        console.note(f"note: the server is {from_environment}, from the environment variable {variable}")
        settings["url_from"] = variable
    key = known.get("api_key_env")
    if from_environment and name is None and os.environ.get(KEY_VARIABLE):
        key = KEY_VARIABLE
    if url is not None:
        settings["url"] = url
    if settings.get("api_key_env") is None and key is not None:
        is_chosen = given is None or given == known.get("url") or is_typed(typed, node.place, "url", str(given))
        if not (is_own and is_chosen):
            raise key_refused(f"{node.place}.api_key_env", str(key), Node(node.place, settings))
        settings["api_key_env"] = key
    return settings
