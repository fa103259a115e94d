"""Records of a table as samples: the type of each row is read from what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.types import CHOICE, CLOSED, OPEN, Sample
from evalkit.records.base import Record
from evalkit.records.cells import table_problem
from evalkit.tasks.formats import is_yes_or_no
from evalkit.tasks.image_places import numbers_images
from evalkit.tasks.table.columns import TableColumns
from evalkit.tasks.table.images import ImageReader, RowImage
from evalkit.tasks.table.options import (
    QuestionParts,
    columns_as_written,
    is_label_in,
    letters_off,
    options_as_written,
    options_in_question,
    right_options,
)
from evalkit.tasks.table.values import listed, one_text, text_or_none

RULE = "choice where options are given, closed where every accepted answer is yes or no, else open"
# What spreadsheets and data frames make of yes and no.
BOOLEANS = {"true": "yes", "false": "no"}
_TYPES = {
    **dict.fromkeys(
        ("open", "openended", "freeform", "freetext", "freeresponse", "free", "short", "shortanswer", "text"), OPEN
    ),
    **dict.fromkeys(("closed", "close", "closedended", "yesno", "yn", "binary", "judgement", "judgment"), CLOSED),
    **dict.fromkeys(("choice", "multiplechoice", "mcq", "mcqa", "multichoice", "mc", "singlechoice"), CHOICE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReader:
    """How rows are read.

    where: the file, for messages.  tags: columns that become tags.  cluster: the column whose values name clusters of
    rows that are not independent; None: the image.  cluster_may_lack: a row without a value there counts by its image.
    context: the column with text for a judge.  first_option: see `right_options`.  cut: a text in the question that
    begins what is not the question (options that are repeated).  names: see `letters_off`.  is_text: cells are texts of
    a CSV, which a spreadsheet program may have changed.  words: answers in lower case that stand for yes or no, and
    which of the two.
    """

    where: str
    columns: TableColumns
    images: ImageReader
    tags: Sequence[str] = ()
    cluster: str | None = None
    cluster_may_lack: bool = False
    context: str | None = None
    first_option: int | None = None
    cut: str = ""
    names: bool = False
    is_text: bool = False
    words: Mapping[str, str] = field(default_factory=lambda: BOOLEANS)

    def sample(self, record: Record, sample_id: str) -> Sample:
        """The sample of a record.  Raises DataError where a field is missing, empty or contradicts another."""
        fields, where = record.fields, f"{self.where}: row {record.row}"
        question = one_text(fields.get(self.columns.question), f"{where}, {self.columns.question}")
        if self.cut and self.cut in question:
            question = question[: question.index(self.cut)].rstrip()
            if not question:
                raise DataError(f"{where}: task.cut={self.cut!r} leaves nothing of the question.")
        question, options = self._apart(question, fields, where)
        kind = self.stated_type(fields, where)
        self._check_cells(fields, where)
        answer = fields.get(self.columns.answer)
        if kind == CHOICE and not options:
            raise DataError(f"{where}: its type is multiple choice, and it has no options.")
        if options and kind in (None, CHOICE):
            references = right_options(answer, options, self.first_option, where)
            kind = CHOICE
        else:
            references = self._plain_references(answer, options, question, where)
            kind = kind or (CLOSED if all(map(is_yes_or_no, references)) else OPEN)
        images = self._images(fields, (question, *options), where)
        single = " ".join(question.split())
        shown = "+".join(dict.fromkeys(image.id for image in images)) or f"row{record.row}"
        cluster = self._cluster(fields, shown, where)
        return Sample(
            id=sample_id,
            image_id=cluster,
            image_name=shown if cluster != shown else "",
            question=single,
            references=references,
            images=tuple(image.ref for image in images),
            choices=options if kind == CHOICE else (),
            tags=self._tags(fields, kind, where),
            context=self._context(fields, where),
            verbatim="" if question == single else question,
        )

    def _cluster(self, fields: Mapping[str, Any], image: str, where: str) -> str:
        """The cluster of a row: the value of its column, else its image."""
        if self.cluster is None or (self.cluster_may_lack and fields.get(self.cluster) in (None, "")):
            return image
        return one_text(fields.get(self.cluster), f"{where}, {self.cluster}")

    def _apart(self, question: str, fields: Mapping[str, Any], where: str) -> QuestionParts:
        """The question and its options, which may be listed at the end of the question."""
        if self.columns.choices == (self.columns.question,):
            return options_in_question(question, where)
        return QuestionParts(question, self.options(fields, where))

    def options(self, fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
        """The options in columns of their own, without their letters; none where the questions list them."""
        return letters_off(self.options_as_written(fields, where), where, names=self.names)

    def options_as_written(self, fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
        """The options in columns of their own, with the letters that they carry."""
        columns = self.columns.choices
        if columns == (self.columns.question,):
            return ()
        if len(columns) == 1:
            return options_as_written(fields.get(columns[0]), f"{where}, {columns[0]}")
        return columns_as_written([fields.get(c) for c in columns], where)

    def _check_cells(self, fields: Mapping[str, Any], where: str) -> None:
        """Refuse answers and options that a spreadsheet program has replaced (1-2 by 02-Jan)."""
        if not self.is_text:
            return
        answer = fields.get(self.columns.answer)
        for column in (self.columns.answer, *(c for c in self.columns.choices if c != self.columns.question)):
            value = fields.get(column)
            if not isinstance(value, str):
                continue
            # A gold with a month makes a date a plausible option.
            problem = table_problem(value, None if column == self.columns.answer else str(answer))
            if problem:
                raise DataError(f"{where}, {column} {problem}")

    def stated_type(self, fields: Mapping[str, Any], where: str) -> str | None:
        """The answer type that the type column states; None for a blank.  Raises DataError for another word."""
        column = self.columns.type
        text = text_or_none(fields.get(column), where) if column else None
        if text is None:
            return None
        found = type_of(text)
        if found is None:
            raise DataError(
                f"{where}, {column}: {text!r} is no known type of answer. Expected open, closed (yes/no) or choice; "
                "task.columns.type=null reads the type from the row instead."
            )
        return found

    def _plain_references(self, answer: Any, options: Sequence[str], question: str, where: str) -> tuple[str, ...]:
        """The accepted answers of a row that is no multiple choice; a letter or number of an option is its text."""
        accepted = self.accepted(answer, where)
        short = all(len(text) == 1 and text.isalnum() for text in accepted)
        if short and options:
            return right_options(answer, options, self.first_option, where)
        if short and self.columns.choices and all(text.isalpha() for text in accepted):
            raise DataError(f"{where}: the answer {accepted[0]!r} looks like the letter of an option, and it has none.")
        if self.columns.choices == (self.columns.question,) and any(is_label_in(question, text) for text in accepted):
            raise DataError(
                f"{where}: the answer {accepted[0]!r} is the number of an option in the question, and options are read "
                "there by letters. Write letters in front of them, or give the options in a column."
            )
        return tuple(self.words.get(text.lower(), text) for text in accepted)

    def accepted(self, answer: Any, where: str) -> tuple[str, ...]:
        """The accepted answers as texts, each once.  Raises DataError where there is none."""
        items = listed(answer)
        texts = [text_or_none(item, f"{where}, answer") for item in (items if items is not None else [answer])]
        found = tuple(dict.fromkeys(t for t in texts if t is not None))
        if not found:
            raise DataError(f"{where}, {self.columns.answer} is empty. Fill it, or set task.on_bad_row=skip.")
        return found

    def _images(self, fields: Mapping[str, Any], texts: Sequence[str], where: str) -> list[RowImage]:
        """The images of a row, those of several columns one after the other.

        texts: the question and the options.

        Raises:
            DataError: an image cannot be read, or one is blank before others, and the texts name images by number.
        """
        found = [self.images.read(fields.get(column), f"{where}, {column}") for column in self.columns.images]
        blank = next((k for k, images in enumerate(found) if not images and any(found[k:])), None)
        if blank is not None and any(map(numbers_images, texts)):
            raise DataError(
                f"{where}, {self.columns.images[blank]} is empty, but a later image is not, and the text names images "
                "by number. Fill it; the numbers would otherwise mean other images."
            )
        return [image for images in found for image in images]

    def _tags(self, fields: Mapping[str, Any], kind: str, where: str) -> dict[str, str]:
        """The tags of a row: answer type, language, and the columns that are slices; blank fields are left out."""
        names = {**({"language": self.columns.language} if self.columns.language else {}), **{t: t for t in self.tags}}
        found = {tag: text_or_none(fields.get(column), f"{where}, {column}") for tag, column in names.items()}
        return {"answer_type": kind, **{tag: text for tag, text in found.items() if text is not None}}

    def _context(self, fields: Mapping[str, Any], where: str) -> dict[str, str]:
        """The text for a judge, under the name that prompts of judges use; empty where the field is blank."""
        text = text_or_none(fields.get(self.context), f"{where}, {self.context}") if self.context else None
        return {"caption": text} if text else {}


def type_of(text: str) -> str | None:
    """The answer type that a text names; None for a text that names none."""
    return _TYPES.get("".join(c for c in text.lower() if c.isalnum()))


@dataclass(slots=True)
class Rows:
    """Samples of a table, and one message for each row that was left out."""

    samples: list[Sample] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_rows(reader: RowReader, records: Iterable[Record], *, skip_bad: bool) -> Rows:
    """Read all records.

    Ids are those of the id column, else the numbers of the rows; a repeated id gets #2, #3 ... in file order.

    Raises:
        DataError: a row cannot be read and skip_bad is false.
    """
    rows = Rows()
    for record, sample_id in _with_ids(reader, records):
        try:
            rows.samples.append(reader.sample(record, sample_id))
        except DataError as problem:
            if not skip_bad:
                raise DataError(f"{problem} (task.on_bad_row=skip leaves such rows out and counts them.)") from None
            rows.skipped.append(str(problem))
    return rows


def _with_ids(reader: RowReader, records: Iterable[Record]) -> Iterator[tuple[Record, str]]:
    """The records, each with an id that no other has."""
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    column = reader.columns.id
    for record in records:
        text = text_or_none(record.fields.get(column), f"{reader.where}: row {record.row}") if column else None
        base = text or str(record.row)
        seen[base] += 1
        sample_id = base if seen[base] == 1 else f"{base}#{seen[base]}"
        while sample_id in taken:
            seen[base] += 1
            sample_id = f"{base}#{seen[base]}"
        taken.add(sample_id)
        yield record, sample_id
