"""Settings that other libraries turn into code: from the command line only, never from a config file.

vLLM imports what `engine_args` names (`trust_remote_code`, `worker_cls`, `logits_processors` …), Ray runs what
`runtime_env` names (`py_executable`, `pip`, `working_dir` of an address …), and the workers of a cluster at an
`address` answer with pickles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.cli.command_words import typed_values
from evalkit.cli.config import load_option, options
from evalkit.core.errors import ConfigError

# Setting -> its keys that are numbers or words without a meaning as code, and may stand in a config file.
FROM_FILES: Mapping[str, frozenset[str]] = {
    "engine_args": frozenset(
        {
            "enforce_eager", "quantization", "kv_cache_dtype", "max_num_seqs", "max_num_batched_tokens", "block_size",
            "swap_space", "cpu_offload_gb", "enable_chunked_prefill", "mm_processor_cache_gb", "disable_log_stats",
        }
    ),
    "runtime_env": frozenset(),
}  # fmt: skip
# Addresses of a Ray cluster on this machine, or in the user's own environment.
OWN_CLUSTERS = ("local", "auto")


class Node(NamedTuple):
    """A mapping of the configuration: its dotted place, "" for the whole, and its settings."""

    place: str
    settings: Mapping[str, Any]


def check_code_settings(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Check that settings which become code were typed by the user.

    Args:
        overrides: the `key=value` words of the command line.

    Raises:
        ConfigError: a config file gives one; says how to give it.
    """
    typed = typed_values(overrides)
    for place, settings in nodes(config):
        for name, allowed in FROM_FILES.items():
            given = settings.get(name)
            for key, value in given.items() if isinstance(given, Mapping) else ():
                is_plain = key in allowed and not isinstance(value, Mapping | list)
                if not is_plain and not is_typed(typed, joined(place, name), str(key)):
                    raise _refused(f"'+{joined(place, name)}.{key}=...'", joined(place, f"{name}.{key}"))
        address = settings.get("address") if "runtime_env" in settings else None
        if address not in (None, *OWN_CLUSTERS) and not is_typed(typed, place, "address", str(address)):
            raise _refused(f"{joined(place, 'address')}=HOST:PORT", joined(place, "address"))


def _refused(word: str, setting: str) -> ConfigError:
    return ConfigError(
        f"{setting} is given in a config file, which cannot choose code that runs. If you want it, give it on the "
        f"command line: {word}."
    )


def is_typed(typed: Mapping[str, Any], place: str, key: str, value: str | None = None) -> bool:
    """Whether the command line gives a setting: in a word of its own, in a mapping, or in words for its parts.

    Args:
        typed: see `typed_values`.  place: of the node with the setting.  value: the setting's value, which the command
            line must have given; None for any.
    """
    setting = joined(place, key)
    for word, given in typed.items():
        if value is None and word.startswith(f"{setting}."):
            return True
        if f"{setting}.".startswith(f"{word}."):
            found = given
            for part in filter(None, setting[len(word) + 1 :].split(".")):
                found = found.get(part) if isinstance(found, Mapping) else None
            if found is not None and value in (None, found):
                return True
    return False


def joined(place: str, key: str) -> str:
    """The dotted name of a setting."""
    return f"{place}.{key}" if place else key


def nodes(node: Mapping[str, Any], place: str = "") -> Iterator[Node]:
    """Every mapping of a configuration; the engines of `bench` with the settings of their own YAMLs."""
    yield Node(place, node)
    for name, value in node.items():
        if not isinstance(value, Mapping):
            continue
        if place == "engines" and name in options("engine"):
            value = {**load_option("engine", str(name)), **value}
        yield from nodes(value, joined(place, str(name)))
