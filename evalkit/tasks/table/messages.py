"""Wording of a table's questions: a prompt variant or a template, with the images at their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.core.types import CHOICE, Message, Sample
from evalkit.tasks.image_places import with_places
from evalkit.tasks.prompts import check_prompt, options_in, options_note, prompt_id, render, unlisted_note
from evalkit.tasks.question_template import QuestionTemplate, wording_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How a question is put: a variant of `evalkit.tasks.prompts`, or a template, and a system message.

    choice_prompt: the variant for multiple-choice questions, which need their options beside them.

    Raises:
        ConfigError: the template has an unknown field, or none for the question.
    """

    prompt: str
    choice_prompt: str = "letters"
    template: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        if self.template is None:
            check_prompt(self.prompt)
            check_prompt(self.choice_prompt)
            return
        QuestionTemplate(self.template)

    def id(self, *, has_choices: bool) -> str:
        """The name of the wording with the first 8 hexadecimal digits of the SHA-256 of its text, for signatures.

        has_choices: the table has multiple-choice questions, so that their wording counts as well.
        """
        if self.template is not None:
            name, text = "template", self.template
        elif not has_choices or self.choice_prompt == self.prompt:
            name, text = self.prompt, prompt_id(self.prompt, has_choices=has_choices)
        else:
            name = f"{self.prompt}+{self.choice_prompt}"
            text = f"{prompt_id(self.prompt)}+{prompt_id(self.choice_prompt, has_choices=True)}"
        if self.template is None and self.system is None and name == self.prompt:
            return text
        return wording_id(name, text, self.system)

    def notes(self, samples: Sequence[Sample]) -> list[str]:
        """How many questions list their options, and which do not."""
        if self.template is not None:
            n = sum(s.answer_type == CHOICE for s in samples)
            return [] if QuestionTemplate(self.template).lists_choices else unlisted_note("plain", n)
        choices = [s for s in samples if s.answer_type == CHOICE]
        others = [options_in(s.question) for s in samples if s.answer_type != CHOICE]
        return [*options_note(self.prompt, others), *unlisted_note(self.choice_prompt, len(choices))]

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """The system message, if any, then the text with the images where it marks them, else in front."""
        content = with_places(self._text(sample), len(sample.images), f"row {sample.id}")
        user = Message(role="user", content=content)
        return (Message(role="system", content=(self.system,)), user) if self.system else (user,)

    def _text(self, sample: Sample) -> str:
        """The text of a question under the wording, before images are put at their places."""
        if self.template is None:
            if sample.answer_type == CHOICE:
                return render(self.choice_prompt, sample.prompt_question, sample.choices, is_choice=True)
            return render(self.prompt, sample.prompt_question, options_in(sample.question))
        return QuestionTemplate(self.template).fill(sample.prompt_question, sample.choices)
