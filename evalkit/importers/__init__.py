"""Readers for prediction files of other tools, and the join of their answers to a task's samples.

`read_answers` returns the answers of a file in any of FORMATS; `join` returns one prediction for each sample.
Nothing is ever unpickled or evaluated.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.importers.base import Answer, AnswerFile, Columns, Format
from evalkit.importers.identify import names_image
from evalkit.importers.join import JoinResult, join
from evalkit.importers.text_match import comparable_text
from evalkit.records.base import RawFile, first_few
from evalkit.records.load import load

__all__ = ["FORMATS", "Answer", "AnswerFile", "JoinResult", "join", "read_answers"]

# One line a format: its name on the command line, and MODULE:OBJECT in this folder.
# In the order in which they are tried: the first one that recognises the content reads it, so `plain` is the last.
_PLACES = {
    "evalkit": "evalkit_run:FORMAT",
    "llava-med": "llava_med:FORMAT",
    "lm-eval": "lm_eval:LM_EVAL",
    "lmms-eval": "lm_eval:LMMS_EVAL",
    "vlmevalkit": "vlmevalkit:FORMAT",
    "medevalkit": "medevalkit:MEDEVALKIT",
    "medvlmbench": "medevalkit:MEDVLMBENCH",
    "intelliscope": "intelliscope:FORMAT",
    "inspect": "inspect_ai:FORMAT",
    "helm": "helm:FORMAT",
    "plain": "generic:FORMAT",
}


def _format(place: str) -> Format:
    module, _, name = place.partition(":")
    found = getattr(import_module(f"{__name__}.{module}"), name)
    assert isinstance(found, Format), f"{place} is not a Format"
    return found


FORMATS: dict[str, Format] = {name: _format(place) for name, place in _PLACES.items()}


def read_answers(
    path: Path | str,
    *,
    format: str = "auto",
    id: str | None = None,
    prediction: str | None = None,
    question: str | None = None,
    reference: str | None = None,
    image_id: str | None = None,
) -> AnswerFile:
    """Read the answers in a file (or in a run folder), in file order.

    format: a key of FORMATS, or "auto" to recognise it by content.  id, prediction, question, reference,
    image_id: names of columns ("doc.question" is a field of an object) if the usual names do not apply.
    Repeated rows with the same answer are merged, with a note.

    Raises:
        DataError: the file cannot be read, is truncated, or contains two different answers to one question.
        ConfigError: unknown format.
    """
    if format != "auto" and format not in FORMATS:
        raise ConfigError(f"Unknown format of predictions: format={format}. {did_you_mean(format, FORMATS)}")
    raw = load(Path(path))
    name = format if format != "auto" else _recognise(raw)
    _check_complete(raw, name)
    columns = Columns(id=id, prediction=prediction, question=question, reference=reference, image=image_id)
    found = FORMATS[name].read(raw, columns)
    answers, notes = found[:2]
    if not answers:
        raise DataError(f"{raw.path}: contains no answers (read as {name}).")
    kept, merged = _merge(answers, raw.path)
    torn = [f"line {raw.torn} is incomplete and was dropped; resuming the run writes it again"] if raw.torn else []
    tail = [f"{len(raw.tail)} characters after the end of the array were ignored"] if raw.tail else []
    all_notes = dict.fromkeys((*raw.notes, *tail, *torn, *notes, *merged))
    return AnswerFile(
        path=str(raw.path), format=name, answers=tuple(kept), notes=tuple(all_notes),
        named=columns, id_column=getattr(found, "id_column", "id"),
    )  # fmt: skip


def _recognise(raw: RawFile) -> str:
    name = next((name for name, known in FORMATS.items() if known.recognises(raw)), None)
    if name is None:
        raise DataError(f"{raw.path}: the format was not recognised. Known formats: {', '.join(FORMATS)}.")
    return name


def _check_complete(raw: RawFile, name: str) -> None:
    if raw.torn and not FORMATS[name].drops_torn:
        raise DataError(
            f"{raw.path}: line {raw.torn}, the last one, is incomplete: its writer was stopped, and the number "
            "of missing answers is unknown. Finish that run, or remove the line to score only the other answers."
        )
    if raw.tail and not FORMATS[name].allows_tail:
        raise DataError(
            f"{raw.path}: text follows the end of the JSON array ({raw.tail[:60]!r}), as if two files were "
            "concatenated. Expected one array per file."
        )


def _merge(answers: list[Answer], path: Path) -> tuple[list[Answer], list[str]]:
    """Keep one answer per id, question and image: a text replaces an error; two different texts raise DataError."""
    kept: dict[object, Answer] = {}
    repeated, retried = 0, 0
    conflicts: list[str] = []
    for answer in answers:
        key: object = answer.row
        if answer.id is not None:
            texts = (comparable_text(answer.question), comparable_text(answer.reference))
            images = tuple(v for k, v in answer.keys.items() if names_image(k))
            key = (answer.id, *texts, answer.image, images)
        first = kept.get(key)
        if first is None:
            kept[key] = answer
        elif first.text == answer.text:
            repeated += 1
        elif first.text is None or answer.text is None:
            retried += 1
            kept[key] = answer if first.text is None else first
        else:
            conflicts.append(f"{answer.id} (rows {first.row} and {answer.row})")
    if conflicts:
        raise DataError(
            f"{path}: {len(conflicts)} ids have two answers with different texts: {first_few(conflicts)}. The file "
            "contains several runs (some tools append to it) or several answers per question. "
            "Keep one of them, or name the column that tells the rows apart with id=NAME."
        )
    notes = [f"{repeated} rows repeat an earlier row with the same answer and were merged"] if repeated else []
    notes += [f"{retried} rows have both an error and an answer; the answer was used"] if retried else []
    return list(kept.values()), notes
