"""Reader of run folders of HELM and VHELM (scenario_state.json)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.json_text import finite_number
from evalkit.importers.base import Answer, Answers, Columns, Format, answered
from evalkit.importers.columns import identifiers, objects, pick
from evalkit.importers.failures import failure, finish_reason, stop_error
from evalkit.importers.packed_answers import PackedAnswers
from evalkit.importers.prompts import prompt_text
from evalkit.records.base import RawFile, answer_text, as_id, as_text


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per request; requests for perturbed copies of an instance are left out, with a note."""
    del columns  # they are fixed
    found = pick(raw.whole or {}, "request_states")
    if not isinstance(found, list):
        raise DataError(f"{raw.path}: request_states is not a list. Expected HELM's scenario_state.json.")
    states = list(enumerate(found, 1))
    original = [(row, s) for row, s in states if not pick(s, "instance.perturbation")]
    left = len(states) - len(original)
    notes = [f"{left} requests for perturbed copies of questions left out"] if left else []
    return Answers(PackedAnswers(_answer(raw, row, state) for row, state in original), notes)


def _answer(raw: RawFile, row: int, state: Any) -> Answer:
    where = f"{raw.path}: request state {row}"
    if not isinstance(state, Mapping) or not isinstance(state.get("instance"), Mapping):
        raise DataError(f"{where} has no instance. Expected HELM's scenario_state.json.")
    completions = objects(pick(state, "result.completions"))
    if len(completions) > 1:
        raise DataError(
            f"{where} has {len(completions)} completions, expected one. The file does not say which one was scored."
        )
    reason = _reason(completions[0]) if completions else None
    if pick(state, "result.success") and completions:
        text, error = answered(answer_text(completions[0].get("text"), f"{where}, completion"))
        error = error or stop_error(reason, text, _reasoning(completions)) or failure(text or "")
        text = None if error else text
    else:
        text, error = None, str(pick(state, "result.error") or "no completion")
    tokens, seconds = completions[0].get("tokens") if completions else None, pick(state, "result.request_time")
    return Answer(
        row=row,
        id=as_id(pick(state, "instance.id"), f"{where}, instance.id"),
        question=_question(state["instance"]),
        reference=_reference(state["instance"], where),
        keys=_keys(state["instance"]),
        text=text,
        error=error,
        finish_reason="error" if error else finish_reason(reason),
        n_tokens=len(tokens) if isinstance(tokens, list) and tokens else None,
        seconds=finite_number(seconds),
        reasoning=_reasoning(completions),
    )


def _reason(completion: Mapping[str, Any]) -> Any:
    """The reason of the stop; some clients of HELM store the word itself, others an object around it."""
    found = completion.get("finish_reason")
    return pick(found, "reason") if isinstance(found, Mapping) else found


def _keys(instance: Mapping[str, Any]) -> dict[str, str]:
    media = objects(pick(instance, "input.multimedia_content.media_objects"))
    place = next((m["location"] for m in media if isinstance(m.get("location"), str)), None)
    return identifiers({"instance.extra_data": instance.get("extra_data"), "image": place})


def _reasoning(completions: Sequence[Mapping[str, Any]]) -> str:
    """Reasoning that HELM stores with a completion."""
    text = pick(completions[0], "thinking.text") if completions else None
    return text.strip() if isinstance(text, str) else ""


def _question(instance: Mapping[str, Any]) -> str | None:
    text = pick(instance, "input.text")
    return (
        text
        if text and isinstance(text, str)
        else prompt_text(pick(instance, "input.multimedia_content.media_objects"))
    )


def _reference(instance: Mapping[str, Any], where: str) -> str | None:
    given = objects(instance.get("references"))
    correct = [r for r in given if isinstance(r.get("tags"), list) and "correct" in r["tags"]]
    return as_text(pick(correct[0], "output.text"), f"{where}, reference") if correct else None


FORMAT = Format(
    about="HELM / VHELM, the folder of a run or its scenario_state.json",
    recognises=lambda raw: raw.whole is not None and isinstance(raw.whole.get("request_states"), list),
    read=read,
    has_fixed_columns=True,
)
