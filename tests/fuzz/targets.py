"""Checks of one input of bytes, by name.

A check returns nothing.  It raises AssertionError where the result of a parser breaks a promise, and lets every
exception through that is no error of evalkit: both are findings.  Inputs of several fields are separated by FIELD.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from evalkit.clients.response import CallFailed, read_completion
from evalkit.core.errors import EvalkitError
from evalkit.core.reasoning import opens_thought, separate, split
from evalkit.core.types import Generation, Message, Prediction, Request, Sample
from evalkit.engines.chat_format import prediction_of
from evalkit.importers import FORMATS, read_answers
from evalkit.judge.parse_response import HIGHEST, LOWEST, VERDICTS, read_verdict
from evalkit.judge.reply_forms import ReplyForm
from evalkit.records.base import RawFile
from evalkit.records.json_array import stream_array
from evalkit.records.load import parse_text
from evalkit.records.tables import stream_csv
from evalkit.records.text import stream_lines
from evalkit.scoring.base import ScoringProtocol
from tests.support.protocols import CONF, protocol, row

FIELD = b"\x1e"
SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".xlsx", ".eval")
# Numbers of the methods of a zip member: stored, deflate, bzip2, lzma.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def fields(data: bytes, n: int) -> list[str]:
    """The first `n` fields of an input as texts; empty where there are fewer."""
    parts = [part.decode("utf-8", "replace") for part in data.split(FIELD, n - 1)]
    return [*parts, *[""] * (n - len(parts))]


def reasoning(data: bytes) -> None:
    """Thought and answer of a text: nothing is invented, nothing changes on a second pass, the text is kept."""
    text = data.decode("utf-8", "replace")
    opens_thought(text)
    for opened in (False, True):
        found = split(text, opened=opened)
        assert found.found or found.answer == text
        assert not (found.is_cut and found.answer)
        assert set(found.answer + found.reasoning) <= set(text) | set(" \n")
        for finish in ("stop", "length"):
            given = Prediction(sample_id="1", text=text, finish_reason=finish)
            first = separate(given, opened=opened)
            assert separate(first, opened=opened) == first
            assert separate(first, "keep").text == text
            assert first.raw == text or (first.raw is None and first.text == text)


@cache
def _protocols() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in CONF.glob("*.yaml") if path.stem not in ("all", "coloninst")))


def load_all() -> None:
    """Import what the checks import on first use, so that it is instrumented too."""
    for name in _protocols():
        protocol(name)
    protocol("coloninst", task="rec")


def scoring(data: bytes) -> None:
    """Every protocol on one answer: a finite value within 0 to 1 or a reason, and the same one again."""
    question, gold, answer, more = fields(data, 4)
    gold, given = gold if gold.strip() else "yes", Prediction(sample_id="1", text=answer)
    sample = row(gold, ("OPEN", "CLOSED", None)[len(more) % 3], question)
    _check_scores(((sample, protocol(name)) for name in _protocols()), given)
    for kind in ("cls", "reg", "rec", "cap"):
        dialogue = Sample(
            id="1",
            image_id="i",
            question=question,
            references=("{<4><8><15><16>}" if kind == "rec" and not more else gold,),
            tags={"task": kind},
        )
        _check_scores([(dialogue, protocol("coloninst", task=kind))], given)


def _check_scores(pairs: Iterable[tuple[Sample, ScoringProtocol]], given: Prediction) -> None:
    for sample, by in pairs:
        scores = by.score(sample, given)
        for score in scores:
            assert score.value is None or 0 <= score.value <= 1, score
        assert scores == by.score(sample, given)


REPLY_FORMS = (("tag", "judge"), ("brackets", "Correctness"), ("json", "score"), ("line", "rating"), ("word", ""))


def judge_reply(data: bytes) -> None:
    """A judge's reply: a verdict out of the known ones, or a reason."""
    reply, refusal, finish = fields(data, 3)
    for judged in ("relative", "correctness"):
        verdict = read_verdict(judged, reply, refusal=refusal or None, finish=finish or None)
        if verdict.status != "judged":
            assert verdict.first is verdict.second is verdict.label is None
        elif judged == "relative":
            assert LOWEST <= verdict.first <= HIGHEST and LOWEST <= verdict.second <= HIGHEST
        else:
            assert verdict.label in VERDICTS
    for form, name in REPLY_FORMS:
        made = ReplyForm(form=form, name=name, credit={"yes": 1.0, "no": 0.0, "1": 1.0})
        for rounds in (1, 3):
            verdict = read_verdict(
                "correctness", reply, refusal=refusal or None, finish=finish or None, form=made, rounds=rounds
            )
            assert (verdict.label in made.credit) == (verdict.status == "judged")


REQUEST = Request(
    sample_id="1",
    image_id="i",
    question="Is it?",
    answer_type=None,
    messages=(Message(role="user", content=("Is it?",)),),
    images=(),
    image_digests=(),
    generation=Generation(stop=("###",)),
    checkpoint="c",
)


def chat_reply(data: bytes) -> None:
    """The body of a server's reply: a prediction, or a failed call with its reason."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return  # the client reads the JSON itself
    try:
        reply = read_completion(content, 0.5)
    except CallFailed as problem:
        assert str(problem)
        return
    found = prediction_of(REQUEST, reply, ["200"])
    assert found.sample_id == "1" and (found.text is None) == bool(found.error)
    assert type(reply).of(json.loads(json.dumps(reply.record()))) == reply


@cache
def _folder() -> Path:
    """A folder for the files of this process, in memory where the system has such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="evalkit-fuzz-", dir=place)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def read_file(content: bytes, suffix: str, **named: str) -> None:
    """A predictions file of any content: answers, or an error of one paragraph that names the file."""
    path = _folder() / f"answers{suffix}"
    path.write_bytes(content)
    try:
        file = read_answers(path, **named)
    except EvalkitError as problem:
        text = str(problem)
        assert path.name in text and len(text) < 4000, text
        return
    finally:
        path.unlink()
    assert file.answers
    for answer in file.answers:
        (answer.text or answer.error or "").encode("utf-8")


def importer(data: bytes) -> None:
    """A file of an importer: the first byte chooses suffix and format, the rest is the content."""
    choice = data[0] if data else 0
    names = ("auto", *FORMATS)
    read_file(data[1:], SUFFIXES[choice % 5], format=names[choice // 5 % len(names)])


def stream(data: bytes) -> None:
    """What is read line by line, or an object at a time, is what the reader of a whole text gives, or its error."""
    path = _folder() / f"answers{SUFFIXES[(data[0] if data else 0) % 5]}"
    path.write_bytes(data[1:])
    try:
        for read in (stream_lines, stream_array, stream_csv):
            found = _outcome(read, path)
            whole = _outcome(parse_text, path)
            # Of a file with several faults, either reader may name another one first.
            assert found is None or found == whole or {type(found), type(whole)} == {str}, (found, whole)
    finally:
        path.unlink()


def _outcome(read: Callable[[Path], RawFile | None], path: Path) -> RawFile | str | None:
    try:
        return read(path)
    except EvalkitError as problem:
        return str(problem)


def archive(data: bytes) -> None:
    """An archive: as it is, or made of members whose content is the input.

    The first byte chooses: an archive as it is, an inspect log of one sample, or a workbook with this sheet.
    """
    choice, content = (data[0] if data else 0), data[1:]
    if choice % 3 == 0:
        read_file(content, SUFFIXES[5 + choice // 3 % 2])
    elif choice % 3 == 1:
        members = {"header.json": b'{"status": "success"}', "samples/1_epoch_1.json": content}
        read_file(zipped(members, METHODS[choice // 3 % 4]), ".eval")
    else:
        read_file(zipped(workbook_parts(content), METHODS[choice // 3 % 2]), ".xlsx")


def zipped(members: dict[str, bytes], method: int) -> bytes:
    """An archive with these members, all of one method and of a fixed date."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in members.items():
            made.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def workbook_parts(sheet: bytes) -> dict[str, bytes]:
    """The parts of a workbook whose only sheet is this XML."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Override PartName="/xl/workbook.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
    }
    return {name: text.encode() for name, text in parts.items()} | {"xl/worksheets/sheet1.xml": sheet}


TARGETS: dict[str, Callable[[bytes], None]] = {
    "reasoning": reasoning,
    "scoring": scoring,
    "judge-reply": judge_reply,
    "chat-reply": chat_reply,
    "importer": importer,
    "stream": stream,
    "archive": archive,
}
