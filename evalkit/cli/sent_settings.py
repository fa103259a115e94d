"""Settings that name a key or a file of this machine for a server: a shared YAML cannot choose them.

A config folder may name a server.  If it could also name the environment variable with the server's key, or a file that
is sent to it, its author could have any key and any text of the reader's machine.  So these settings are taken from the
command line, or from evalkit's own YAMLs, whose servers are known.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from evalkit.cli.code_settings import Node, is_typed, joined, nodes
from evalkit.cli.command_words import typed_values
from evalkit.cli.config import config_dir, read_yaml, unresolved
from evalkit.cli.typed_settings import GROUPS
from evalkit.clients.server_settings import check_key_name
from evalkit.core.errors import ConfigError
from evalkit.core.plain_text import visible

# Variables of the hosted services in evalkit's own YAMLs -> the only server that gets them unasked.
KNOWN_SERVERS = {"OPENAI_API_KEY": "https://api.openai.com"}
# The setting that names an environment variable, and the end of its name in classes of trusted packages.
KEY_SETTING, ENDING = "api_key_env", "_env"
# Settings that name a text file whose content becomes part of the requests.
FILE_SETTINGS = ("prompt_file",)
# Settings of trackers that name who gets the answers and pictures, and the token of the user's environment with them.
DESTINATIONS = ("uri", "space_id", "entity")
ADDRESSES = ("base_url", "url")


def check_sent_settings(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Check that the user, or evalkit, has chosen each key and each file that a server is sent.

    Args:
        config: a verb's configuration, with `choices`.  overrides: the `key=value` words of the command line.

    Raises:
        ConfigError: a file of a config folder has chosen one; says what to type.
    """
    typed = typed_values(overrides)
    for node in nodes(config):
        for key, value in ((str(key), value) for key, value in node.settings.items()):
            if not isinstance(value, str) or is_typed(typed, node.place, key, value):
                continue
            setting = joined(node.place, key)
            if key == KEY_SETTING:
                check_key_name(value, setting)  # the value is shown below, and could be a key
            if key == KEY_SETTING or (key.endswith(ENDING) and value in list(os.environ)):
                if not _is_known(config, node, value, typed):
                    raise key_refused(setting, value, node)
            elif key in FILE_SETTINGS:
                raise _file_refused(setting, value, node)
            elif node.place == "tracker" and key in DESTINATIONS:
                raise ConfigError(
                    f"{setting}={value[:200]!r} is given in a config file, which cannot choose who gets the answers "
                    f"and pictures of this machine. If you want to send them there, say so on the command line: "
                    f"{setting}={value[:200]}."
                )


def _is_known(config: Mapping[str, Any], node: Node, variable: str, typed: Mapping[str, Any]) -> bool:
    """Whether a variable belongs to the server, or evalkit's YAML names it and the server is its own or typed."""
    address = next((name for name in ADDRESSES if node.settings.get(name)), None)
    url = str(node.settings[address]) if address else ""
    # The whole beginning is compared: programs disagree on which part of an odd address is the host.
    if (home := KNOWN_SERVERS.get(variable)) and (url == home or url.startswith(f"{home}/")):
        return True
    option = str((config.get("choices") or {}).get(node.place))
    own = {path.stem: path for path in (config_dir() / node.place).glob("*.yaml")} if node.place in GROUPS else {}
    if address is None or option not in own:
        return False
    content = unresolved(read_yaml(own[option]))
    is_own_server = content.get(address) == url or is_typed(typed, node.place, address, url)
    return content.get(KEY_SETTING) == variable and is_own_server


def key_refused(setting: str, variable: str, node: Node) -> ConfigError:
    """The error about a key that a config file has chosen for a server."""
    known = ", ".join(f"{name} for {server}" for name, server in KNOWN_SERVERS.items())
    return ConfigError(
        f"{setting}={variable} is given in a config file, which cannot choose the key that {_server(node)} gets. If "
        f"you want to send it that key, say so on the command line: {_word(setting)}={variable}. What a config file "
        f"may choose is {known}."
    )


def _file_refused(setting: str, path: str, node: Node) -> ConfigError:
    return ConfigError(
        f"{setting}={path[:200]!r} is given in a config file, which cannot choose a file of this machine whose text "
        f"{_server(node)} gets. If you want to send it that file, say so on the command line: {_word(setting)}=FILE."
    )


def _word(setting: str) -> str:
    """The key of the command line's word for a setting; an engine of `bench` has no settings until they are added."""
    return f"+{setting}" if setting.startswith("engines.") else setting


def _server(node: Node) -> str:
    """The server of a node's address, for a message; without the user and password that an address may have."""
    for name in ADDRESSES:
        try:
            parts = urlsplit(str(node.settings.get(name) or ""))
            host, port = parts.hostname, parts.port
        except ValueError:
            continue
        if host:
            return f"the server {visible(host[:200])}" + (f":{port}" if port else "")
    return "a server"
