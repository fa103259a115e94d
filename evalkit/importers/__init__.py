"""Reading other people's prediction files, and joining them to a task's samples.

`read_answers` gives the answers of a file in any of FORMATS; `join` gives one prediction for each sample.
Nothing is ever unpickled or evaluated.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.importers.base import Answer, AnswerFile, Columns, Format, Raw, named
from evalkit.importers.join import Joined, join
from evalkit.importers.load import load
from evalkit.importers.text_match import normal

__all__ = ["FORMATS", "Answer", "AnswerFile", "Joined", "join", "read_answers"]

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
) -> AnswerFile:
    """The answers in a file (or in the folder of a run), in the file's order.

    format: a key of FORMATS, or "auto" to recognise it by its content.  id, prediction, question, reference: names of
    columns ("doc.question" reaches into an object) where the usual names do not fit.
    A row that is there twice with the same answer is merged with a note.  DataError if the file cannot be read, is
    torn, or holds two different answers to one question; ConfigError for an unknown format.
    """
    if format != "auto" and format not in FORMATS:
        raise ConfigError(f"format={format}: there is no such format of predictions. {did_you_mean(format, FORMATS)}")
    raw = load(Path(path))
    name = format if format != "auto" else _recognise(raw)
    _check_whole(raw, name)
    columns = Columns(id=id, prediction=prediction, question=question, reference=reference)
    answers, notes = FORMATS[name].read(raw, columns)
    if not answers:
        raise DataError(f"{raw.path}: holds no answers (read as {name}).")
    kept, merged = _merge(answers, raw.path)
    torn = [f"line {raw.torn} is half written and was dropped; the run goes on from there"] if raw.torn else []
    tail = [f"{len(raw.tail)} characters behind the end of the array ignored"] if raw.tail else []
    every = dict.fromkeys((*raw.notes, *tail, *torn, *notes, *merged))
    return AnswerFile(path=str(raw.path), format=name, answers=tuple(kept), notes=tuple(every))


def _recognise(raw: Raw) -> str:
    name = next((name for name, known in FORMATS.items() if known.recognises(raw)), None)
    if name is None:
        raise DataError(f"{raw.path}: in none of the formats that can be recognised. Known: {', '.join(FORMATS)}.")
    return name


def _check_whole(raw: Raw, name: str) -> None:
    if raw.torn and not FORMATS[name].drops_torn:
        raise DataError(
            f"{raw.path}: line {raw.torn}, the last one, is half written: whatever wrote the file was stopped. How "
            "many answers are missing cannot be known; finish that run, or remove the line if the rest is what you "
            "want to score."
        )
    if raw.tail and not FORMATS[name].allows_tail:
        raise DataError(
            f"{raw.path}: text follows the end of the JSON array ({raw.tail[:60]!r}), as when two files were put "
            "behind one another. Keep one array a file."
        )


def _merge(answers: list[Answer], path: Path) -> tuple[list[Answer], list[str]]:
    """One answer for each id and question; an error gives way to a text, two different texts are refused."""
    kept: dict[object, Answer] = {}
    same, retried = 0, 0
    clashes: list[str] = []
    for answer in answers:
        key = (answer.id, normal(answer.question), normal(answer.reference)) if answer.id is not None else answer.row
        first = kept.get(key)
        if first is None:
            kept[key] = answer
        elif first.text == answer.text:
            same += 1
        elif first.text is None or answer.text is None:
            retried += 1
            kept[key] = answer if first.text is None else first
        else:
            clashes.append(f"{answer.id} (rows {first.row} and {answer.row})")
    if clashes:
        raise DataError(
            f"{path}: {len(clashes)} ids are answered twice with different texts: {named(clashes)}. The file holds "
            "several runs (some tools append to it) or several answers a question; keep one of them."
        )
    notes = [f"{same} rows repeat an earlier row with the same answer and were merged"] if same else []
    notes += [f"{retried} rows failed once and were answered in another row; the answer was taken"] if retried else []
    return list(kept.values()), notes
