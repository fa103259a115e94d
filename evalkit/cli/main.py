"""Entry point of the command line: dispatch to a verb, exit codes, error messages."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Sequence

from evalkit import __version__
from evalkit.cli.command_words import quoted
from evalkit.cli.completion import complete_verb, is_completion
from evalkit.cli.verbs import command_line_refused, load, read_verb, split_verb, verb_names
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError, did_you_mean, first_line

# EX_SOFTWARE of sysexits.h: an internal software error.
BUG_EXIT_CODE = 70


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: that of the process); returns the exit code."""
    console.prepare_streams()
    return console.flushed(exit_code_of(list(sys.argv[1:] if argv is None else argv)))


def exit_code_of(arguments: Sequence[str]) -> int:
    """Run a command line, and report what it raises; returns the exit code."""
    debug = any(a.replace(" ", "") in ("debug=true", "debug=True") for a in arguments)
    try:
        return run_command(arguments)
    except EvalkitError as problem:
        from evalkit.cli.hydra_app import report_error

        if debug:
            traceback.print_exc()
        return report_error(problem)
    except BrokenPipeError:
        console.discard_output()
        return console.PIPE_EXIT_CODE
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; finished answers are kept, and the same command goes on from there\n")
        return 130
    except Exception as problem:  # noqa: BLE001 - reported as a bug: Python's own exit code is 1, the gate's verdict
        return report_bug(problem, arguments, debug=debug)


def report_bug(problem: Exception, arguments: Sequence[str], *, debug: bool) -> int:
    """Report an exception that nothing expected: a bug of evalkit, or a package that is missing or does not fit.

    The traceback goes to a file of the temporary folder; with debug=true it is printed.

    Returns:
        BUG_EXIT_CODE; never 1, which says that a gate has failed.
    """
    text = f"evalkit {__version__}, python {sys.version.split()[0]}: {' '.join(arguments)}\n{traceback.format_exc()}"
    where = "printed above"
    if debug:
        sys.stderr.write(text)
    else:
        try:
            with tempfile.NamedTemporaryFile(
                "w", prefix="evalkit-bug-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
            ) as file:
                file.write(text)
            where = f"in {file.name}"
        except OSError:  # a full disk
            sys.stderr.write(text)
    if plugin := failing_plugin(problem):
        console.note(
            f"evalkit: {plugin} failed: {type(problem).__name__}: {first_line(problem)}. It is a package of your own "
            f"(EVALKIT_TRUST, or an installed plug-in), so the error is to be mended there; the traceback is {where}."
        )
        return ConfigError.exit_code
    if isinstance(problem, ImportError):
        cause = f"A package that evalkit needs is missing or does not fit: {first_line(problem)}. Install evalkit again"
    else:
        cause = f"This is a bug in evalkit: {type(problem).__name__}: {first_line(problem)}. Please report it"
    console.note(
        f"evalkit: {cause}; the traceback is {where}. Finished answers are kept, and the exit code {BUG_EXIT_CODE} "
        "says nothing about a model."
    )
    return BUG_EXIT_CODE


def failing_plugin(problem: Exception) -> str | None:
    """FILE:LINE of a trusted package or a plug-in, where an exception was raised below it; None for evalkit's own."""
    from evalkit.cli.targets import trusted_prefixes
    from evalkit.core.plugins import GROUPS, plugins

    installed = {f"{p.value.partition(':')[0].partition('.')[0]}." for g in GROUPS for p in plugins(g).values()}
    own = (*trusted_prefixes()[1:], *installed)
    frames = list(traceback.walk_tb(problem.__traceback__))
    names = [f"{frame.f_globals.get('__name__', '')}." for frame, _ in frames]
    ours = max((k for k, name in enumerate(names) if name.startswith("evalkit.")), default=-1)
    for (frame, line), name in reversed(list(zip(frames, names, strict=True))[ours + 1 :]):
        if own and name.startswith(own):
            return f"{frame.f_code.co_filename}:{line}"
    return None


def as_flags(arguments: Sequence[str]) -> list[str]:
    """The words `help`, `help VERB` and `version` as the flags of that meaning.

    >>> as_flags(["help", "judge", "check"]), as_flags(["version"]), as_flags(["task=slake"])
    (['judge', 'check', '--help'], ['--version'], ['task=slake'])

    Raises:
        ConfigError: help is asked for a verb that there is not.
    """
    first, rest = "".join(arguments[:1]), list(arguments[1:])
    if first == "version":
        return ["--version", *rest]
    if first != "help":
        return list(arguments)
    if rest and not split_verb(rest).is_explicit:
        raise no_verb(rest[0])
    return [*rest, "--help"]


def no_verb(word: str) -> ConfigError:
    """The error about a word that is neither a verb nor a setting; a path is told how settings are written."""
    if "/" in word or "\\" in word:
        return ConfigError(
            f"{word!r} stands alone; a path is the value of a setting, as key=value: run={word} for report, "
            "'runs=[RUN,RUN]' for compare, baseline=RUN candidate=RUN for gate. VERB --help lists the settings."
        )
    known = [*(name.replace("_", " ") for name in verb_names()), "help", "version"]
    return ConfigError(f"There is no verb {word!r}. {did_you_mean(word, known)}")


def run_command(arguments: Sequence[str]) -> int:
    """Run the verb of a command line, or print its help.

    Raises:
        EvalkitError: the command line is wrong, or the verb failed.
    """
    verb, is_explicit, rest = split_verb(as_flags(arguments))
    if {"-h", "--help"} & set(rest):
        from evalkit.cli.help import help_text, verb_help

        console.out(verb_help(verb) if is_explicit else help_text())
        return 0
    if "--version" in rest:
        console.out(__version__)
        return 0
    if not read_verb(verb).has_settings:
        return load(verb)(rest)
    if is_completion(rest):
        verb = complete_verb()
    elif rest and "=" not in rest[0] and not rest[0].startswith(("-", "+", "~")):
        if first := read_verb(verb).first_word:
            return run_command([*verb.split("_"), f"{first}={quoted(rest[0])}", *rest[1:]])
        command_line_refused(verb, rest)
        raise no_verb(rest[0])
    from evalkit.cli.hydra_app import run_verb

    return run_verb(verb, rest)
