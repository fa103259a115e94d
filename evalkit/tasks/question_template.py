"""Templates of questions: the user's own wording with {question} and {choices}, and a system message, for any task."""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError
from evalkit.core.files import expand_home
from evalkit.core.types import LETTERS, Message, Sample
from evalkit.tasks.base import LoadedTask, Task
from evalkit.tasks.image_places import with_places
from evalkit.tasks.prompts import options_in

# `options` is the older name of `choices`.
CHOICES = ("choices", "options")
FIELDS = ("question", *CHOICES)
SYSTEM_FILES = (".txt", ".md")


def names_file(setting: str) -> bool:
    """Whether a setting `task.template` is the name of a file: a template has at least the field {question}."""
    return bool(setting.strip()) and "{" not in setting and "\n" not in setting


def read_question_template(setting: str) -> str:
    """The text of a template: the setting itself, or the file that it names, without its last line break.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not names_file(setting):
        return setting
    path = expand_home(setting)
    if not path.exists():
        raise ConfigError(
            f"task.template={setting[:200]!r} has no field {{question}}, and there is no file of that name. Expected a "
            "text such as '{question} Answer briefly.', or a file with one."
        )
    return _file_text(path, "task.template")


def names_system_file(setting: str) -> bool:
    """Whether a setting `task.system` is the name of a file: one word that ends as the names of text files do."""
    return len(setting.split()) == 1 and setting.strip().lower().endswith(SYSTEM_FILES)


def read_system(setting: str) -> str:
    """The text of a system message in the file that a setting names, without its last line break.

    Raises:
        ConfigError: the file cannot be read.
    """
    return _file_text(expand_home(setting.strip()), "task.system")


def _file_text(path: Path, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{setting}: {path} cannot be read as a text: {problem}.") from None


@dataclass(frozen=True, slots=True)
class QuestionTemplate:
    """A wording with the field {question}, and {choices} for the options, one a line with their letters.

    {choices:(A)} writes the letters in the form (A); other braces are doubled: {{ and }}.

    >>> QuestionTemplate("{question}\\n{choices}\\nLetter:").fill("Which?", ("CT", "MRI"))
    'Which?\\nA. CT\\nB. MRI\\nLetter:'

    Raises:
        ConfigError: the template has an unknown field, or none for the question.
    """

    text: str

    def __post_init__(self) -> None:
        try:
            found = list(string.Formatter().parse(self.text))
        except ValueError as problem:
            raise ConfigError(
                f"task.template={self.text[:200]!r}: {problem}. Write {{{{ for a brace, and }}}} for its end."
            ) from None
        used = [name for _, name, _, _ in found if name is not None]
        if unknown := [name for name in used if name not in FIELDS]:
            raise ConfigError(
                f"task.template: unknown field {{{unknown[0][:80]}}}. Expected {{question}} and {{choices}}; a brace "
                "of the text itself is doubled, {{ and }}."
            )
        marks = [spec for _, name, spec, _ in found if name in CHOICES and spec]
        others = [name for _, name, spec, _ in found if name not in CHOICES and spec]
        if others or any(conversion for *_, conversion in found) or any(mark.count("A") != 1 for mark in marks):
            raise ConfigError(
                "task.template: a field is its name alone, as in {question}, with no '!' and no ':' in it; only "
                "{choices:(A)} may have a ':', with one A behind it for the letter."
            )
        if "question" not in used:
            raise ConfigError("task.template has no field {question}, so every row would be asked the same.")

    @property
    def lists_choices(self) -> bool:
        """Whether the options of a question are written."""
        return any(name in CHOICES for _, name, _, _ in string.Formatter().parse(self.text))

    def fill(self, question: str, choices: tuple[str, ...]) -> str:
        """The text of a question; empty where {choices} stands for a question without options."""
        return self.text.format(question=question, **dict.fromkeys(CHOICES, _Options(choices)))


class _Options(tuple[str, ...]):
    """Options that a template writes one a line, each behind its letter."""

    __slots__ = ()

    def __format__(self, mark: str) -> str:
        """The options with letters in the form of `mark`, which has an A for the letter; without one, A. B. C."""
        return "\n".join(f"{(mark or 'A.').replace('A', LETTERS[k])} {text}" for k, text in enumerate(self))


def wording_id(name: str, text: str, system: str | None) -> str:
    """A name with the first 8 hexadecimal digits of the SHA-256 of a wording and a system message, for signatures."""
    whole = "\0".join((text, system or ""))
    return f"{name}@{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


class WordedTask:
    """A task whose questions are put in the words of a template, or behind a system message.

    The images, their places in front of the text and everything else are the task's own.
    """

    def __init__(self, task: Task, *, template: str | None, system: str | None) -> None:
        self._task = task
        self._template = QuestionTemplate(template) if template is not None else None
        self._system = system

    def load(self, *, images: bool = True) -> LoadedTask:
        """The task's rows, under a prompt name of their own; see `evalkit.tasks.base.Task`."""
        loaded = self._task.load(images=images)
        name, _, _ = loaded.prompt.partition("@")
        text = loaded.prompt if self._template is None else self._template.text
        made = wording_id(name if self._template is None else "template", text, self._system)
        return replace(loaded, prompt=made, notes=(*loaded.notes, *self._notes(loaded)))

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """The task's messages, with the last one in the words of the template and the system message in front."""
        turns = self._task.messages(sample)
        if self._template is not None:
            text = self._template.fill(sample.prompt_question, _choices(sample))
            content = with_places(text, len(sample.images), f"row {sample.id}")
            turns = (*turns[:-1], Message(role="user", content=content))
        if self._system is None:
            return turns
        return (Message(role="system", content=(self._system,)), *(m for m in turns if m.role != "system"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def _notes(self, loaded: LoadedTask) -> list[str]:
        if self._template is None or not self._template.lists_choices:
            return []
        n = sum(not _choices(sample) for sample in loaded.samples)
        text = f"task.template: {{choices}} is empty for {n} of {len(loaded.samples)} questions, which have no options"
        return [text] if n else []


def _choices(sample: Sample) -> tuple[str, ...]:
    """The options of a question, or those that its text names: yes and no, or the members of "A or B"."""
    return sample.choices or options_in(sample.question)
