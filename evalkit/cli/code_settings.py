"""Settings that other libraries turn into code: from the command line only, never from a config file.

vLLM imports what `engine_args` names (`trust_remote_code`, `worker_cls`, `logits_processors` …), and Ray runs what
`runtime_env` names (`py_executable`, `pip`, `working_dir` of an address …).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.cli.typed_settings import words_of
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


class _Given(NamedTuple):
    """A key of such a setting: its dotted place, its name, its value, the names that files may have."""

    place: str
    key: str
    value: Any
    allowed: frozenset[str]


def check_code_settings(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Check that settings which become code were typed by the user.

    Args:
        overrides: the `key=value` words of the command line.

    Raises:
        ConfigError: a config file gives one; says how to give it.
    """
    words = words_of(overrides)
    for place, key, value, allowed in _given(config, ""):
        if key in allowed and not isinstance(value, Mapping | list):
            continue
        if not any(_is_about(word, place) and key in f"{word}={text}" for word, text in words.items()):
            raise ConfigError(
                f"{place}.{key} is given in a config file, which cannot choose code that runs. If you want it, give it "
                f"on the command line: '+{place}.{key}=...'."
            )


def _is_about(word: str, place: str) -> bool:
    """Whether a word of the command line sets something at, above or below a place."""
    return f"{word}.".startswith(f"{place}.") or f"{place}.".startswith(f"{word}.")


def _given(node: Mapping[str, Any], prefix: str) -> Iterator[_Given]:
    for name, value in node.items():
        place = f"{prefix}.{name}" if prefix else str(name)
        if name in FROM_FILES and isinstance(value, Mapping):
            yield from (_Given(place, str(key), given, FROM_FILES[name]) for key, given in value.items())
        elif isinstance(value, Mapping):
            yield from _given(value, place)
