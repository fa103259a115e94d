"""Words of the command line that are meant for Hydra: its flags, and settings of its own node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from evalkit.core.errors import ConfigError, did_you_mean

# Flags with evalkit's meaning or Hydra's.  Left out of Hydra's: --config-path and --config-name, which would replace
# the built-in tree, and --experimental-rerun, which reads a pickle.
FLAGS = frozenset(
    {
        "-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run", "-m",
        "--multirun", "-sc", "--shell-completion", "-i", "--info", "-cd", "--config-dir",
    }
)  # fmt: skip
# Settings of the node `hydra` for the command line; the groups are those of installed plugins.
GROUPS = frozenset({"hydra/launcher", "hydra/sweeper", "hydra/job_logging", "hydra/hydra_logging"})
SETTINGS = ("launcher", "sweeper", "mode", "verbose", "run", "sweep", "job", "output_subdir")
_KEY = re.compile(r"[+~]{0,2}([^=]*)")
_TARGET = re.compile(r"(?:^|[.{,\s'\"])_target_['\"]?\s*(?:$|[:=.])")


# Names that other harnesses have for settings of evalkit, where they differ.
_OTHER_NAMES = {
    "tasks": "task", "dataset": "task", "models": "model", "output": "out", "output_dir": "out", "output_path": "out",
    "log_dir": "out", "batch_size": "engine.batch_size", "device": "engine.device", "dtype": "engine.dtype",
    "base_url": "engine.url", "split": "task.split", "data": "task.path", "data_path": "task.path",
    "max_tokens": "generation.max_new_tokens", "max_new_tokens": "generation.max_new_tokens",
    "temperature": "generation.temperature", "top_p": "generation.top_p", "system_instruction": "task.system",
    "protocols": "protocol", "metric": "protocol", "num_samples": "limit", "max_samples": "limit",
}  # fmt: skip


def check_words(arguments: Sequence[str], settings: Iterable[str] = ()) -> None:
    """Check the flags, and the words about Hydra's own settings.

    Hydra accepts every unique beginning of its flags, so that a list of forbidden ones would not hold.

    Args:
        settings: the verb's settings and groups, for flags of other programs' habit: `--limit 5`.

    Raises:
        ConfigError: a flag is unknown, or a word would make Hydra run what it names or read another folder's files.
    """
    for place, argument in enumerate(arguments):
        if argument.startswith("-") and len(argument) > 1:
            _check_flag(argument.partition("=")[0], arguments[place:], frozenset(settings))
        elif _TARGET.search(argument):
            raise ConfigError(
                f"{argument[:80]!r}: `_target_` is not a setting, because Hydra runs what it names. A class of evalkit "
                "or of a package that you trust is named by `target=package.module:Class`."
            )
        else:
            _check_key(argument)


def _check_flag(flag: str, arguments: Sequence[str], settings: frozenset[str]) -> None:
    """Check a flag; arguments: the words from it on."""
    if flag in FLAGS:
        return
    if _setting_of(flag, settings):
        words = _as_settings(arguments, settings)
        raise ConfigError(
            f"{flag} is not a flag of evalkit: a setting is written KEY=VALUE, without dashes. Write "
            f"`{shlex.join(words)}` in place of `{shlex.join(arguments)}`."
        )
    raise ConfigError(
        f"{flag} is not a flag of evalkit. {did_you_mean(flag, FLAGS)} Settings are written KEY=VALUE, without dashes. "
        "A folder with YAMLs of your own is given as --config-dir DIR."
    )


def _setting_of(flag: str, settings: frozenset[str]) -> str | None:
    """The setting that a flag is meant for; None where there is none of that name.

    >>> _setting_of("--batch-size", frozenset({"engine"})), _setting_of("--model", frozenset({"model"}))
    ('engine.batch_size', 'model')
    """
    name = flag.lstrip("-").replace("-", "_")
    found = name if name in settings else _OTHER_NAMES.get(name, name)
    return found if {found, found.partition(".")[0]} & settings else None


def _as_settings(arguments: Sequence[str], settings: frozenset[str]) -> list[str]:
    """The words with each flag for a setting, and its value, as `KEY=VALUE`; a flag without a value is true."""
    words: list[str] = []
    waiting = list(arguments)
    while waiting:
        flag, equals, value = (word := waiting.pop(0)).partition("=")
        setting = _setting_of(flag, settings) if word.startswith("-") and flag not in FLAGS else None
        if setting is None:
            words.append(word)
        elif equals:
            words.append(f"{setting}={value}")
        else:
            has_value = bool(waiting) and not waiting[0].startswith("-") and "=" not in waiting[0]
            words.append(f"{setting}={waiting.pop(0) if has_value else 'true'}")
    return words


def _check_key(argument: str) -> None:
    match = _KEY.match(argument)
    key = match.group(1).strip() if match else ""
    if re.search(r"@(?:.*[.:])?hydra(?:$|[.:])", key):
        raise ConfigError(f"{key}= is not possible: it places a config file in Hydra's own settings.")
    if not re.match(r"hydra(?:$|[./@:])", key):
        return
    if key in GROUPS or (key.startswith("hydra.") and key.split(".")[1] in SETTINGS):
        return
    known = [*sorted(GROUPS), *(f"hydra.{name}" for name in SETTINGS)]
    hint = " A folder with YAMLs of your own is --config-dir DIR." if "searchpath" in key else ""
    raise ConfigError(f"{key}= is not possible; of Hydra's own settings these are: {', '.join(known)}.{hint}")
