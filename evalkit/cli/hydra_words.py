"""Words of the command line that are meant for Hydra: its flags, and settings of its own node."""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def check_words(arguments: Sequence[str]) -> None:
    """Check the flags, and the words about Hydra's own settings.

    Hydra accepts every unique beginning of its flags, so that a list of forbidden ones would not hold.

    Raises:
        ConfigError: a flag is unknown, or a word would make Hydra run what it names or read another folder's files.
    """
    for argument in arguments:
        if argument.startswith("-") and len(argument) > 1:
            _check_flag(argument.partition("=")[0])
        elif _TARGET.search(argument):
            raise ConfigError(
                f"{argument[:80]!r}: `_target_` is not a setting, because Hydra runs what it names. A class of evalkit "
                "or of a package that you trust is named by `target=package.module:Class`."
            )
        else:
            _check_key(argument)


def _check_flag(flag: str) -> None:
    if flag in FLAGS:
        return
    raise ConfigError(
        f"{flag} is not a flag of evalkit. {did_you_mean(flag, FLAGS)} A folder with YAMLs of your own is given as "
        "--config-dir DIR."
    )


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
