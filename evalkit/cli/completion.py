"""Tab completion of verbs; Hydra completes settings and options.

The shell calls `evalkit -sc query=SHELL` with the line typed so far in the environment variable COMP_LINE.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from evalkit.cli.verbs import DEFAULT, split_verb, verb_names

FLAGS = ("-sc", "--shell-completion")


def is_completion(arguments: Sequence[str]) -> bool:
    """Whether the shell asks for completions."""
    return any(argument in FLAGS for argument in arguments) and "COMP_LINE" in os.environ


def complete_verb() -> str:
    """Print the verbs that the typed line may become, and take a complete verb out of COMP_LINE.

    Returns:
        The verb whose settings Hydra has to complete.
    """
    line = os.environ["COMP_LINE"]
    program, *words = line.split()
    typed = words if line.endswith(" ") else words[:-1]
    unfinished = "" if line.endswith(" ") or not words else words[-1]
    command = split_verb(typed)
    verbs = [name.split("_") for name in verb_names()]
    following = {verb[len(typed)] for verb in verbs if verb[: len(typed)] == typed and len(verb) > len(typed)}
    sys.stdout.write("".join(f"{word}\n" for word in sorted(following) if word.startswith(unfinished)))
    if not command.is_explicit:
        return DEFAULT
    os.environ["COMP_LINE"] = " ".join([program, *command.arguments, unfinished])
    return command.verb
