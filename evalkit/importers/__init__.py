"""Readers for prediction files of other tools, and the join of their answers to a task's samples.

`read_answers` returns the answers of a file in any of FORMATS; `join` returns one prediction for each sample.
Nothing is ever unpickled or evaluated.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

from evalkit.core import console
from evalkit.core.errors import ConfigError, DataError, EvalkitError, did_you_mean, first_line
from evalkit.core.plugins import Plugin, broken, load, plugins
from evalkit.importers.base import Answer, Answers, Columns, Format
from evalkit.importers.columns import refuse_named
from evalkit.importers.identify import names_image
from evalkit.importers.join import JoinResult, join
from evalkit.importers.packed_answers import AnswerFile, PackedAnswers
from evalkit.importers.repeats import repeated
from evalkit.importers.text_match import comparable_text
from evalkit.records.base import RawFile, first_few
from evalkit.records.load import load as load_file

__all__ = ["FORMATS", "Answer", "AnswerFile", "JoinResult", "formats", "join", "plugin_format", "read_answers"]

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
    "evalscope": "evalscope:FORMAT",
    "lighteval": "lighteval:FORMAT",
    "karma": "karma:FORMAT",
    "plain": "generic:FORMAT",
}


def _format(place: str) -> Format:
    module, _, name = place.partition(":")
    found = getattr(import_module(f"{__name__}.{module}"), name)
    assert isinstance(found, Format), f"{place} is not a Format"
    return found


FORMATS: dict[str, Format] = {name: _format(place) for name, place in _PLACES.items()}


def formats() -> dict[str, Format]:
    """FORMATS and those of plug-ins, in the order in which they are tried; a plug-in that is broken is left out."""
    *first, last = FORMATS
    found = {name: FORMATS[name] for name in first}
    for name, plugin in plugins("importers").items():
        if name not in FORMATS:
            try:
                found[name] = plugin_format(plugin)
            except ConfigError as problem:
                console.warn(str(problem))
    return {**found, last: FORMATS[last]}


def plugin_format(plugin: Plugin) -> Format:
    """A plug-in's format, whose own errors are one paragraph that names its package.

    Raises:
        ConfigError: the plug-in cannot be used.
    """
    found = load(plugin)
    if not isinstance(found, Format):
        raise broken(plugin, f"it is {type(found).__name__!r}, expected an evalkit.importers.base.Format")

    def recognises(raw: RawFile) -> bool:
        try:
            return bool(found.recognises(raw))
        except Exception as problem:  # noqa: BLE001 - of a package of somebody else's; the other formats are tried
            console.warn(str(broken(plugin, f"{type(problem).__name__}: {first_line(problem)}")))
            return False

    def read(raw: RawFile, columns: Columns) -> Answers:
        try:
            return found.read(raw, columns)
        except EvalkitError:
            raise
        except Exception as problem:
            raise broken(plugin, f"reading {raw.path}: {type(problem).__name__}: {first_line(problem)}") from problem

    return replace(found, recognises=recognises, read=read)


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

    format: a key of FORMATS, the name of a plug-in, or "auto" to recognise it by content.  id, prediction, question,
    reference, image_id: names of columns ("doc.question" is a field of an object) if the usual names do not apply.
    Repeated rows with the same answer are merged, with a note.

    Raises:
        DataError: the file cannot be read, is truncated, or contains two different answers to one question.
        ConfigError: unknown format.
    """
    if format not in ("auto", *FORMATS, *plugins("importers")):
        known = [*FORMATS, *plugins("importers")]
        raise ConfigError(f"Unknown format of predictions: format={format}. {did_you_mean(format, known)}")
    raw = load_file(Path(path))
    name, reader = (format, _chosen(format)) if format != "auto" else _recognise(raw)
    _check_complete(raw, reader)
    columns = Columns(id=id, prediction=prediction, question=question, reference=reference, image=image_id)
    if reader.has_fixed_columns:
        refuse_named(columns, name)
    found = reader.read(raw, columns)
    answers, notes = PackedAnswers.of(found[0]), found[1]
    if not answers:
        raise DataError(f"{raw.path}: contains no answers (read as {name}).")
    kept, merged = _merge(answers, raw.path, reader)
    torn = [f"line {raw.torn} is incomplete and was dropped; resuming the run writes it again"] if raw.torn else []
    tail = [f"{len(raw.tail)} characters after the end of the array were ignored"] if raw.tail else []
    all_notes = dict.fromkeys((*raw.notes, *tail, *torn, *notes, *merged))
    return AnswerFile(
        path=str(raw.path), format=name, answers=kept, notes=tuple(all_notes),
        named=columns, id_column=getattr(found, "id_column", "id"),
    )  # fmt: skip


def _chosen(name: str) -> Format:
    return FORMATS[name] if name in FORMATS else plugin_format(plugins("importers")[name])


def _recognise(raw: RawFile) -> tuple[str, Format]:
    known = formats()
    found = next(((name, reader) for name, reader in known.items() if reader.recognises(raw)), None)
    if found is None:
        raise DataError(f"{raw.path}: the format was not recognised. Known formats: {', '.join(known)}.")
    return found


def _check_complete(raw: RawFile, reader: Format) -> None:
    if raw.torn and not reader.drops_torn:
        raise DataError(
            f"{raw.path}: line {raw.torn}, the last one, is incomplete: its writer was stopped, and the number "
            "of missing answers is unknown. Finish that run, or remove the line to score only the other answers."
        )
    if raw.tail and not reader.allows_tail:
        raise DataError(
            f"{raw.path}: text follows the end of the JSON array ({raw.tail[:60]!r}), as if two files were "
            "concatenated. Expected one array per file."
        )


def _merge(answers: PackedAnswers, path: Path, reader: Format) -> tuple[PackedAnswers, list[str]]:
    """Keep one answer per id, question and image: a text replaces an error; two different texts raise DataError."""
    first: dict[object, int] = {}  # of the answers whose key occurs more than once: key -> place of the first one
    kept: dict[int, int] = {}  # place of a first one -> place of the answer that is kept
    n_equal, n_retried = 0, 0
    conflicts: list[str] = []
    key_of = partial(_key, answers, any(map(names_image, answers.keys.names)))
    places = repeated(map(key_of, range(len(answers))))
    for place in places:
        k = first.setdefault(key_of(place), place)
        one, other = answers.text(kept.setdefault(k, k)), answers.text(place)
        if k == place:
            continue
        if one == other:
            n_equal += 1
        elif one is None or other is None:
            n_retried += 1
            kept[k] = place if one is None else kept[k]
        else:
            conflicts.append(f"{answers.ids[place]} (rows {answers.row(kept[k])} and {answers.row(place)})")
    if conflicts:
        raise DataError(
            f"{path}: {len(conflicts)} ids have two answers with different texts: {first_few(conflicts)}. The file "
            "contains several runs (some tools append to it) or several answers per question. Keep one of them"
            + ("." if reader.has_fixed_columns else ", or name the column that tells the rows apart with id=NAME.")
        )
    notes = [f"{n_equal} rows repeat an earlier row with the same answer and were merged"] if n_equal else []
    notes += [f"{n_retried} rows have both an error and an answer; the answer was used"] if n_retried else []
    if not places:
        return answers, notes
    dropped = set(places) - kept.keys()
    return PackedAnswers(answers[kept.get(k, k)] for k in range(len(answers)) if k not in dropped), notes


def _key(answers: PackedAnswers, has_images: bool, place: int) -> object:
    """What tells an answer from the others of its file, where any (or none) of its short values may be an image."""
    name = answers.ids[place]
    if name is None:
        return answers.row(place)
    texts = (comparable_text(answers.questions[place]), comparable_text(answers.references[place]))
    values = answers.keys[place].fields if has_images else {}
    return (name, *texts, answers.images[place], tuple(v for k, v in values.items() if names_image(k)))
