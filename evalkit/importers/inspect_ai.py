"""Reader of inspect logs: an .eval archive (zstandard or deflate) or the .json form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.json_text import count, finite_number, shown
from evalkit.importers.base import Answer, Answers, Columns, Format
from evalkit.importers.columns import identifiers, objects, pick
from evalkit.importers.failures import failure, finish_reason, stop_error
from evalkit.importers.packed_answers import PackedAnswers
from evalkit.importers.prompts import prompt_text
from evalkit.records.base import RawFile, as_id, as_text, first_few, first_text

_ATTACHMENT = "attachment://"


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per sample and epoch; a failed sample is an error.  Adds a note if the log is not a success."""
    del columns  # they are fixed
    if raw.members:
        samples = [member.content for member in raw.members("samples/")]
        header = next((member.content for member in raw.members("header.json")), None)
        status = pick(header, "status") if isinstance(header, Mapping) else "started"
    else:
        samples = pick(raw.whole or {}, "samples")
        status = pick(raw.whole or {}, "status")
    if samples is not None and not isinstance(samples, list):
        raise DataError(f"{raw.path}: samples is {shown(samples)}. Expected an inspect log with a list of samples.")
    if not samples:
        raise DataError(
            f"{raw.path}: contains no samples. Expected an inspect log with samples/*.json; a log without samples "
            "contains only scores."
        )
    answers = PackedAnswers(sample_answer(raw, row, sample) for row, sample in enumerate(samples, 1))
    _check_epochs(raw, samples, answers)
    notes = [f"the log's status is {shown(status)}, not 'success'"] if status not in (None, "success") else []
    return Answers(answers, notes)


def _check_epochs(raw: RawFile, samples: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> None:
    """Raise DataError where the epochs of a log have different answers to one sample."""
    texts: dict[str | None, set[str]] = {}
    for answer in answers:
        texts.setdefault(answer.id, set()).update([answer.text] if answer.text is not None else [])
    epochs = {shown(sample.get("epoch")) for sample in samples}
    differ = [str(name) for name, found in texts.items() if name is not None and len(found) > 1]
    if len(epochs) > 1 and differ:
        raise DataError(
            f"{raw.path}: the log has {len(epochs)} epochs, with different answers to {len(differ)} samples: "
            f"{first_few(differ)}. One answer a sample is scored: write a log of one epoch (inspect eval --epochs 1), "
            "or a copy of this one without the samples of the other epochs."
        )


def sample_answer(raw: RawFile, row: int, sample: Any) -> Answer:
    """The answer in a sample of a log."""
    where = f"{raw.path}: sample {row}"
    if not isinstance(sample, Mapping):
        raise DataError(f"{where} is {type(sample).__name__}, expected an object.")
    text = _attached(sample, _completion(sample))
    usage = pick(sample, "output.usage.output_tokens")
    choices = objects(pick(sample, "output.choices"))
    reason = pick(choices[0], "stop_reason") if choices else None
    reasoning = _reasoning(choices)
    failed = _failed(sample, text, reason, reasoning)
    seconds = pick(sample, "output.time")
    return Answer(
        row=row,
        id=as_id(sample.get("id"), f"{where}, id"),
        question=_question(sample),
        reference=first_text(sample.get("target"), f"{where}, target"),
        keys=identifiers({"metadata": sample.get("metadata")}),
        text=None if failed else as_text(text, f"{where}, completion"),
        error=str(failed) if failed else None,
        finish_reason="error" if failed else finish_reason(reason),
        n_tokens=count(usage),
        seconds=finite_number(seconds),
        reasoning=reasoning,
    )


def _failed(sample: Mapping[str, Any], text: str | None, reason: Any, reasoning: str) -> str | None:
    """The error of a sample that failed, that a content filter stopped, or that a limit stopped before any answer."""
    error = pick(sample, "error.message") or sample.get("error") or pick(sample, "output.error")
    if error:
        return str(error)[:500]
    if stopped := stop_error(reason, text or "", reasoning):
        return stopped
    if text is None:
        return "no completion"
    limit = pick(sample, "limit.type")
    if limit and not text.strip():
        return f"stopped by the sample's {limit} limit before an answer"
    return failure(text)


def _reasoning(choices: Sequence[Mapping[str, Any]]) -> str:
    """The parts of the message that inspect keeps as reasoning."""
    parts = objects(pick(choices[0], "message.content")) if choices else []
    found = [p.get("reasoning") for p in parts if p.get("type") == "reasoning"]
    return "\n\n".join(text.strip() for text in found if isinstance(text, str) and text.strip())


def _completion(sample: Mapping[str, Any]) -> str | None:
    choices = pick(sample, "output.choices")
    if choices == []:
        return None
    completion = pick(sample, "output.completion")
    if isinstance(completion, str):
        return completion
    return prompt_text(pick(next(iter(objects(choices)), None), "message.content"))


def _question(sample: Mapping[str, Any]) -> str | None:
    messages = sample.get("input")
    if isinstance(messages, list):
        messages = [m for m in messages if isinstance(m, Mapping) and m.get("role", "user") == "user"]
    return _attached(sample, prompt_text(messages))


def _attached(sample: Mapping[str, Any], text: str | None) -> str | None:
    """The text, or the attachment that it refers to: inspect stores long texts separately."""
    if text is None or not text.startswith(_ATTACHMENT):
        return text
    stored = pick(sample.get("attachments"), text.removeprefix(_ATTACHMENT))
    return stored if isinstance(stored, str) else text


FORMAT = Format(
    about="inspect, .eval archives and .json logs",
    recognises=lambda raw: (
        raw.kind == "archive"
        or (raw.whole is not None and "eval" in raw.whole and isinstance(raw.whole.get("samples"), list))
    ),
    read=read,
    has_fixed_columns=True,
)
