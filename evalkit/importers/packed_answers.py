"""The answers of a file held as columns: of a million short ones, an object each would take more than the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from evalkit.core.columns import OptionalValues, Packed, PackedTexts
from evalkit.core.packed_predictions import PackedPredictions
from evalkit.core.types import Prediction
from evalkit.importers.base import Answer, Columns
from evalkit.records.base import PackedRecords

# The place of an answer without a sample, or of a sample without an answer.
NOWHERE = -1


class PackedAnswers(Packed[Answer]):
    """One answer a place, each made when it is asked for.

    ids, questions, references, images: the values of these fields, by place.  keys: the other short values, as records
    with the rows of the answers.
    """

    def __init__(self, answers: Iterable[Answer] = ()) -> None:
        self.ids = PackedTexts()
        self.questions = OptionalValues[str]()
        self.references = OptionalValues[str]()
        self.images = OptionalValues[str]()
        self.keys = PackedRecords()
        self._said = PackedPredictions()
        for answer in answers:
            self.append(answer)

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> PackedAnswers:
        """These answers; without a copy if they are packed."""
        return answers if isinstance(answers, cls) else cls(answers)

    def append(self, answer: Answer) -> None:
        """Add an answer."""
        self.ids.append(answer.id)
        self.questions.append(answer.question)
        self.references.append(answer.reference)
        self.images.append(answer.image)
        self.keys.append(answer.row, answer.keys)
        self._said.append(_prediction(answer))

    def row(self, place: int) -> int:
        """The row of an answer in its file."""
        return self.keys.row(place)

    def text(self, place: int) -> str | None:
        """The text of an answer; None for an error."""
        return self._said.text(place)

    def prediction(self, place: int, sample_id: str) -> Prediction:
        """An answer as the prediction for a sample."""
        return self._said.of_sample(place, sample_id)

    def __len__(self) -> int:
        return len(self._said)

    def value_at(self, place: int) -> Answer:
        """The answer of a place."""
        said, keys = self._said[place], self.keys[place]
        return Answer(
            row=keys.row, id=self.ids[place], question=self.questions[place], reference=self.references[place],
            image=self.images[place], keys=keys.fields, text=said.text, error=said.error,
            finish_reason=said.finish_reason, n_tokens=said.n_tokens, seconds=said.seconds,
            fingerprint=said.fingerprint, reasoning=said.reasoning, raw=said.raw, options=said.options,
            logprob=said.logprob, thought_tokens=said.thought_tokens,
        )  # fmt: skip


def _prediction(answer: Answer) -> Prediction:
    """What an answer says, as the prediction for no sample."""
    return Prediction(
        sample_id="", text=answer.text, error=answer.error, finish_reason=answer.finish_reason,
        n_tokens=answer.n_tokens, seconds=answer.seconds, fingerprint=answer.fingerprint, reasoning=answer.reasoning,
        raw=answer.raw, options=answer.options, logprob=answer.logprob, thought_tokens=answer.thought_tokens,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFile:
    """The answers of a file.

    notes: irregularities of the file and how they were read, for the user.  named: the columns that the user named.
    id_column: the one that the ids are from, for messages.
    """

    path: str
    format: str
    answers: PackedAnswers
    notes: tuple[str, ...] = ()
    named: Columns = field(default_factory=Columns)
    id_column: str = "id"

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", PackedAnswers.of(self.answers))
