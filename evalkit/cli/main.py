"""Entry point of the command line: dispatch to a verb, exit codes, error messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from evalkit import __version__
from evalkit.cli.completion import complete_verb, is_completion
from evalkit.cli.verbs import load, read_verb, split_verb, verb_names
from evalkit.core.errors import ConfigError, EvalkitError, did_you_mean


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: that of the process); returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = any(a.replace(" ", "") in ("debug=true", "debug=True") for a in arguments)
    try:
        return run_command(arguments)
    except EvalkitError as problem:
        if debug:
            raise
        from evalkit.cli.hydra_app import report_error

        return report_error(problem)
    except BrokenPipeError:
        # The reader of our output has gone (`--help | head`).  Python flushes standard output once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; finished answers are kept, and the same command goes on from there\n")
        return 130


def run_command(arguments: Sequence[str]) -> int:
    """Run the verb of a command line, or print its help.

    Raises:
        EvalkitError: the command line is wrong, or the verb failed.
    """
    verb, is_explicit, rest = split_verb(arguments)
    if {"-h", "--help"} & set(rest):
        from evalkit.cli.help import help_text, verb_help

        sys.stdout.write(f"{verb_help(verb) if is_explicit else help_text()}\n")
        return 0
    if "--version" in rest:
        sys.stdout.write(f"{__version__}\n")
        return 0
    if not read_verb(verb).has_settings:
        return load(verb)(rest)
    if is_completion(rest):
        verb = complete_verb()
    elif rest and "=" not in rest[0] and not rest[0].startswith(("-", "+", "~")):
        known = [name.replace("_", " ") for name in verb_names()]
        raise ConfigError(f"There is no verb {rest[0]!r}. {did_you_mean(rest[0], known)}")
    from evalkit.cli.hydra_app import run_verb

    return run_verb(verb, rest)
