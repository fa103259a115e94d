"""Wording of a table's questions: a prompt variant or a template, with the images at their places."""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass

from evalkit.core.errors import ConfigError
from evalkit.core.types import LETTERS, Message, Sample
from evalkit.tasks.image_places import with_places
from evalkit.tasks.prompts import options_in, prompt_id, render

FIELDS = ("question", "options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How a question is put: a variant of `evalkit.tasks.prompts`, or a template, and a system message.

    Raises:
        ConfigError: the template has an unknown field, or none for the question.
    """

    prompt: str
    template: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        if self.template is None:
            return
        try:
            used = [name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None]
        except ValueError as problem:
            raise ConfigError(f"task.template={self.template!r}: {problem}. Write {{{{ for a brace.") from None
        if unknown := [name for name in used if name not in FIELDS]:
            raise ConfigError(f"task.template: unknown field {{{unknown[0]}}}. Expected {{question}} and {{options}}.")
        if "question" not in used:
            raise ConfigError("task.template has no field {question}, so every row would be asked the same.")

    @property
    def id(self) -> str:
        """The name of the wording with the first 8 hexadecimal digits of the SHA-256 of its text, for signatures."""
        if self.template is None and self.system is None:
            return prompt_id(self.prompt)
        text = f"{self.template if self.template is not None else prompt_id(self.prompt)}\0{self.system or ''}"
        name = "template" if self.template is not None else self.prompt
        return f"{name}@{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """The system message, if any, then the text with the images where it marks them, else in front."""
        content = with_places(self._text(sample), len(sample.images), f"row {sample.id}")
        user = Message(role="user", content=content)
        return (Message(role="system", content=(self.system,)), user) if self.system else (user,)

    def _text(self, sample: Sample) -> str:
        if self.template is None:
            return render(self.prompt, sample.prompt_question, sample.choices or options_in(sample.question))
        options = "\n".join(f"{LETTERS[k]}. {choice}" for k, choice in enumerate(sample.choices))
        return self.template.format(question=sample.prompt_question, options=options)
