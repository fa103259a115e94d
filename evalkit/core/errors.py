"""The exception tree.

EvalkitError            exit code 2 unless a subclass says otherwise
├── ConfigError         invalid command-line option or config value
├── DataError           invalid data set, image or predictions file
├── ModelError          weights, processor or template are missing or inconsistent
├── EngineError         generation failed in a way that stops the run
├── StoreError          a run's folder is locked, damaged or of another run
├── JudgeError          the judge cannot be used
├── Partial             partly finished; completed work is kept (exit code 3)
├── GateFailed          the candidate is worse (exit code 1)
└── Inconclusive        the gate has no verdict (exit code 4)

Every message is one paragraph: what is wrong, where, what was expected, what to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Characters of a message that are shown.
_LONGEST = 3000
_BREAK = re.compile(r"\s*[\r\n]\s*")


class EvalkitError(Exception):
    """Base of every error that is shown to a user without a traceback."""

    exit_code = 2

    def __str__(self) -> str:
        """The message as one paragraph: line breaks in what it quotes are spaces, and too long a middle is left out.

        Half a surrogate pair, which no file and no terminal takes, is shown as its escape.

        >>> len(str(DataError("x" * 100_000))), str(DataError("damaged: line 1\\nline 2"))
        (3031, 'damaged: line 1 line 2')
        """
        text = _BREAK.sub(" ", super().__str__()).encode("utf-8", "backslashreplace").decode("utf-8")
        if (left_out := len(text) - _LONGEST) <= 0:
            return text
        return f"{text[: _LONGEST - 1000]} […{left_out} characters left out…] {text[-1000:]}"


class ConfigError(EvalkitError):
    """Invalid command-line option or config value."""


class DataError(EvalkitError):
    """Invalid data set, image or predictions file."""


class ModelError(EvalkitError):
    """Weights, processor or template are missing or inconsistent."""


class EngineError(EvalkitError):
    """Generation failed in a way that stops the run."""


class StoreError(EvalkitError):
    """A run's folder is locked, damaged or of another run."""


class JudgeError(EvalkitError):
    """The judge cannot be used."""


class Partial(EvalkitError):
    """Partly finished; completed work is kept."""

    exit_code = 3


class GateFailed(EvalkitError):
    """The candidate is worse than the baseline by more than the margin."""

    exit_code = 1


class Inconclusive(EvalkitError):
    """The gate has no verdict at this number of samples."""

    exit_code = 4


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest of `known`, and lists them all when they are few.

    >>> did_you_mean("slak", ["slake", "vqa-rad"])
    "Did you mean 'slake'? Known: slake, vqa-rad."
    """
    names = sorted(" ".join(name.split()) for name in known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    shown = names if len(names) <= 40 else near
    return f"{hint}Known: {', '.join(shown)}." if shown else hint.strip()


def first_line(problem: BaseException) -> str:
    """The first line of an error's text, for messages of one paragraph; the error's kind where it has none.

    >>> first_line(ValueError("no such file\\nsee above")), first_line(EOFError())
    ('no such file', 'EOFError')
    """
    text = str(problem).strip()
    return text.splitlines()[0] if text else type(problem).__name__
