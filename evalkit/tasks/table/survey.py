"""What only all rows of a table show: letters of names, the start of numbers, letters whose options are nowhere."""

from __future__ import annotations

from collections.abc import Iterable

from evalkit.core.errors import DataError
from evalkit.core.types import CHOICE, LETTERS
from evalkit.records.base import Record
from evalkit.tasks.table.options import is_label_in, letters_off, may_be_names, whole_number
from evalkit.tasks.table.rows import BOOLEANS, RowReader
from evalkit.tasks.table.values import listed

# Letters that options usually have; an answer of another letter (R, T) is a text.
_USUAL_LETTERS = frozenset("ABCDEFGH")
# Pairs of letters for yes and no.
_YES_NO = ({"y": "yes", "n": "no"}, {"t": "yes", "f": "no"})


def names_in_options(reader: RowReader, records: Iterable[Record]) -> bool:
    """Whether letters in front of options that could be of names (A. fumigatus) are.

    They are letters of options where every row of the table has A, B, C ... in front of its options.
    """
    if not reader.columns.choices:
        return False
    could = plain = False
    for record in records:
        where = f"{reader.where}: row {record.row}"
        try:
            options = reader.options_as_written(record.fields, where)
            if len(options) >= 2:
                could = could or may_be_names(options)
                plain = plain or letters_off(options, where) == options
        except DataError:  # reading the row says so
            continue
        if could and plain:
            return True
    return False


def check_numbers(reader: RowReader, records: Iterable[Record]) -> int | None:
    """The number of the first option where answers are numbers: 0 or 1; None where no answer is one.

    Raises:
        DataError: the numbers fit both and nothing says which.
    """
    column, has_zero, has_last, n = reader.columns.answer, False, False, 0
    if not reader.columns.choices:
        return None
    for record in records:
        where = f"{reader.where}: row {record.row}"
        answers = listed(record.fields.get(column)) or [record.fields.get(column)]
        numbers = [number for answer in answers if (number := whole_number(answer)) is not None]
        if not numbers:
            continue
        try:
            options, kind = reader.options(record.fields, where), reader.stated_type(record.fields, where)
        except DataError:  # reading the row says so
            continue
        if not options or kind not in (None, CHOICE) or any(str(number) in options for number in numbers):
            continue
        n += 1
        has_zero |= 0 in numbers
        has_last |= len(options) in numbers
    if n == 0:
        return None
    if has_zero != has_last:
        return 0 if has_zero else 1
    raise DataError(
        f"{reader.where}: {n} answers are numbers of options, and nothing says whether the first option is 0 or 1. Set "
        "task.first_option=0 or task.first_option=1."
    )


def single_letters(reader: RowReader, records: Iterable[Record]) -> dict[str, str]:
    """What single letters as answers stand for in a table without options: yes and no, where they are Y and N, or T and
    F, and no other letter is an answer; else nothing.

    Raises:
        DataError: a question lists the options of its answer's letter, or every answer is such a letter.
    """
    letters: set[str] = set()
    n = n_texts = 0
    for record in records:
        try:
            answers = reader.accepted(record.fields.get(reader.columns.answer), f"{reader.where}: row {record.row}")
        except DataError:  # reading the row says so
            continue
        single = {a.upper() for a in answers if len(a) == 1 and a.upper() in LETTERS}
        n, n_texts, letters = n + 1, n_texts + (not single), letters | single
        _check_question(reader, record, answers)
    if n_texts == 0 and len(letters) > 1 and letters <= _USUAL_LETTERS:
        raise DataError(
            f"{reader.where}: every answer is a letter ({', '.join(sorted(letters))}), and no column of options was "
            "found. Name them with task.columns.choices=[NAME,NAME] (task.columns.choices=question where the questions "
            "list them), or state that there are none with task.columns.choices=null."
        )
    found = next((pair for pair in _YES_NO if letters == {letter.upper() for letter in pair}), {})
    return {**BOOLEANS, **found} if found else {}


def words_note(reader: RowReader, records: Iterable[Record]) -> list[str]:
    """A note of the answers that are read as yes and no, such as True and False; none where there are none.

    An answer in those words of a model is not scored as yes and no by every protocol.
    """
    if reader.columns.choices:
        return []
    n, found = 0, dict[str, None]()
    for record in records:
        answer = record.fields.get(reader.columns.answer)
        items = listed(answer)
        texts = [str(item).strip() for item in (items if items is not None else [answer])]
        read = [text for text in texts if text.lower() in reader.words]
        n += bool(read)
        found |= dict.fromkeys(f"{text} as {reader.words[text.lower()]}" for text in read)
    return [f"{n} answers are read as yes or no: {', '.join(list(found)[:6])}"] if n else []


def _check_question(reader: RowReader, record: Record, answers: Iterable[str]) -> None:
    """Refuse an answer by the letter of an option that the question lists, where questions are not read so."""
    question, where = record.fields.get(reader.columns.question), f"{reader.where}: row {record.row}"
    if isinstance(question, str) and (labels := [a for a in answers if is_label_in(question, a)]):
        raise DataError(
            f"{where}: the answer is {labels[0]!r}, and the question lists an option of this label. Set "
            "task.columns.choices=question to read lettered options at the end of questions, give the options in a "
            "column, or set task.columns.choices=null to leave the label the answer."
        )
