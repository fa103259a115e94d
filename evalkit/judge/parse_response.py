"""Reading of a judge's reply: judged, refused or unreadable.  Only a judged reply gives a score."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evalkit.core.finish_reasons import finish_kind
from evalkit.core.json_text import finite_number
from evalkit.core.marked_thoughts import SplitText
from evalkit.core.reasoning import split
from evalkit.core.types import CUT_IN_REASONING, LETTERS
from evalkit.judge.config import REFEREE, RELATIVE
from evalkit.judge.reply_forms import OPTION, ReplyForm, has_other_tags, json_objects, majority
from evalkit.scoring.protocols.choice_vlmevalkit import exact_match
from evalkit.scoring.protocols.coloneval import named_option

VERDICTS = ("correct", "partly", "wrong", "cannot_tell")
LOWEST, HIGHEST = 1, 10
# A referee says so of an answer that states none of the options; Z in the prompts of VLMEvalKit.
NO_OPTION = "none"

_TWO_NUMBERS = re.compile(r"^[\s*_`]*(\d+(?:\.\d+)?)(?:\s*[,;]\s*|\s+)(\d+(?:\.\d+)?)[\s*_`.]*$")
_RETRACTS = re.compile(
    r"\b(?:wait|actually|hmm+|let me|second thoughts?|correction|re-?(?:check|consider|think|evaluat|examin)\w*)\b",
    re.I,
)
_STARTS_WITH_REFUSAL = re.compile(
    r"^\W*(?:i['’]?m (?:very )?sorry|sorry|i apologi[sz]e|unfortunately)?\W*(?:but )?(?:as an ai\b.{0,60})?\W*"
    r"i(?:['’]m| am)? (?:can(?:no|['’])t|unable to|not able to|won['’]t|will not|must decline)",
    re.I,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one call.

    first, second: scores of 1 to 10 of the answers in the order presented (relative).  label: one of VERDICTS
    (correctness), a label of the judge's own form, or the letter of an option or NO_OPTION (referee).  why: the
    problem, given exactly when the status is not "judged".
    """

    status: Literal["judged", "refused", "unreadable"]
    first: float | None = None
    second: float | None = None
    label: str | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if (self.status == "judged") == bool(self.why):
            raise ValueError(f"a verdict of status {self.status!r} with the reason {self.why!r}")


def response_format(judged: str) -> dict[str, Any]:
    """The `response_format` of a request: the JSON schema of the reply."""
    if judged == RELATIVE:
        score = {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST}
        fields: dict[str, Any] = {"reason": {"type": "string"}, "score_1": score, "score_2": score}
    elif judged == REFEREE:
        fields = {"reason": {"type": "string"}, "option": {"type": "string", "enum": [*LETTERS, NO_OPTION]}}
    else:
        fields = {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": list(VERDICTS)}}
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "judgment", "strict": True, "schema": schema}}


def read_verdict(
    judged: str,
    text: str | None,
    *,
    refusal: str | None = None,
    finish: str | None = None,
    options: Sequence[str] = (),
    form: ReplyForm | None = None,
    rounds: int = 1,
) -> Verdict:
    """The outcome of a reply.

    Args:
        judged: the judged task, "relative", "correctness" or "referee".
        text: of the reply; None or empty where there is none.
        refusal: content of the API's field for refusals.
        finish: the server's finish reason.
        options: texts of the options that a referee, or a judge with the reply form option, chooses from.
        form: of the reply, where it is not evalkit's own.
        rounds: number of replies in the text, a JSON list where there are several; the label of most of them counts.
    """
    kind, said = finish_kind(finish), _shown(refusal or "")
    if said or kind == "withheld":
        return Verdict(status="refused", why=said or "the provider's content filter")
    if kind == "broken off":
        return Verdict(status="unreadable", why=f"broken off by the server (finish_reason {finish})")
    if rounds > 1 and text is not None:
        return _read_rounds(text, rounds, judged, finish, form)
    # A reply that is JSON alone has no thought around it, whatever its texts mention.
    reply = SplitText(text or "") if _is_json(text or "") else split(text or "")
    if reply.is_cut:
        # A verdict in a thought is one that the judge only considers.
        return Verdict(status="unreadable", why=f"{CUT_IN_REASONING}: {_shown(reply.reasoning)}")
    body = reply.answer.strip()
    if not body:
        cut = " at the token limit" if kind == "length" else ""
        return Verdict(status="unreadable", why=f"empty reply{cut}")
    if kind == "length" and form is None and _weighs(body):
        return Verdict(status="unreadable", why=f"cut at the token limit before its verdict: {_shown(body)}")
    if form is not None:
        found = _read_form(body, form, kind == "length", options, text or "")
    elif judged == REFEREE:
        found = _read_option(body, options, exact_match)
    else:
        found = _read_relative(body) if judged == RELATIVE else _read_correctness(body)
    if isinstance(found, Verdict):
        return found
    if _STARTS_WITH_REFUSAL.search(body[:200]):
        return Verdict(status="refused", why=_shown(body))
    if kind == "length":
        return Verdict(status="unreadable", why=f"cut at the token limit; {found}")
    return Verdict(status="unreadable", why=found)


def _read_form(body: str, form: ReplyForm, is_cut: bool, options: Sequence[str], whole: str) -> Verdict | str:
    """The label of a reply in another form; else the problem.  Of a cut reply it is not known what else it says."""
    if form.form == OPTION:
        if is_cut or _STARTS_WITH_REFUSAL.search(body[:200]):
            return f"no option: {_shown(body)}"
        return _read_option(body, options, named_option)
    label = None if is_cut or has_other_tags(whole, body, form) else form.label_of(body)
    if label is None:
        return f"not one label in the form {form.described()}: {_shown(body)}"
    return Verdict(status="judged", label=label)


def _read_rounds(text: str, rounds: int, judged: str, finish: str | None, form: ReplyForm | None) -> Verdict:
    """The label of most of the replies of one call; any reply without a label leaves the whole without one."""
    try:
        replies = json.loads(text)
    except (ValueError, RecursionError):
        replies = None
    if not isinstance(replies, list) or len(replies) != rounds or not all(isinstance(r, str) for r in replies):
        return Verdict(status="unreadable", why=f"{rounds} replies were expected: {_shown(text)}")
    labels = []
    for number, reply in enumerate(replies, start=1):
        found = read_verdict(judged, reply, finish=finish, form=form)
        if found.label is None:
            return Verdict(status=found.status, why=f"round {number} of {rounds}: {found.why}")
        labels.append(found.label)
    label = majority(labels)
    if label is None:
        return Verdict(status="unreadable", why=f"no label has the majority: {', '.join(labels)}")
    return Verdict(status="judged", label=label)


def _weighs(body: str) -> bool:
    """Whether a cut reply still weighs its judgment: a JSON object in it may be one that the judge only considers.

    It does with prose before the object, and where it takes back what it has said.
    """
    if "{" not in body or _TWO_NUMBERS.match(body.splitlines()[0]):
        return False
    return not body.startswith(("{", "```")) or bool(_RETRACTS.search(body, body.find("}")))


def _read_relative(body: str) -> Verdict | str:
    """The two scores, from a JSON object or from a first line of two numbers; else the problem."""
    objects = [o for o in json_objects(body) if "score_1" in o or "score_2" in o]
    if objects:
        pairs = {(finite_number(o.get("score_1")), finite_number(o.get("score_2"))) for o in objects}
        if len(pairs) > 1:
            return "several different judgments in one reply"
        first, second = pairs.pop()
    else:
        match = _TWO_NUMBERS.match(body.splitlines()[0])
        if match is None:
            return f"neither the JSON that was asked for nor two scores on the first line: {_shown(body)}"
        first, second = float(match.group(1)), float(match.group(2))
    if first is None or second is None:
        return f"a score is missing or no number: {_shown(body)}"
    if not all(LOWEST <= score <= HIGHEST for score in (first, second)):
        return f"scores {first:g} and {second:g}, of which one is outside {LOWEST} to {HIGHEST}"
    return Verdict(status="judged", first=first, second=second)


def _read_correctness(body: str) -> Verdict | str:
    """The verdict, from a JSON object or from a reply of that word alone; else the problem."""
    objects = [o for o in json_objects(body) if "verdict" in o]
    if objects:
        labels = {o["verdict"] if isinstance(o["verdict"], str) else None for o in objects}
    else:
        labels = {body.strip(" \t\r\n\"'*_`.").lower().replace(" ", "_")}
    if len(labels) > 1:
        return "several different judgments in one reply"
    label = labels.pop()
    if label not in VERDICTS:
        return f"no verdict out of {', '.join(VERDICTS)}: {_shown(body)}"
    return Verdict(status="judged", label=label)


def _read_option(body: str, options: Sequence[str], matching: Callable[[str, Sequence[str]], str]) -> Verdict | str:
    """The option, from a JSON object, else by the authors' own matching, whose Z is none of the options."""
    letters = LETTERS[: len(options)]
    if objects := [o for o in json_objects(body) if "option" in o]:
        labels = {o["option"].strip().upper() if isinstance(o["option"], str) else "" for o in objects}
    else:
        labels = {matching(body, options)}
    if len(labels) > 1:
        return "several different judgments in one reply"
    label = labels.pop()
    if label in ("Z", NO_OPTION.upper()) and label not in letters:
        return Verdict(status="judged", label=NO_OPTION)
    if len(label) != 1 or label not in letters:
        return f"no option out of {', '.join(letters)} and {NO_OPTION}: {_shown(body)}"
    return Verdict(status="judged", label=label)


def _is_json(text: str) -> bool:
    """Whether a text is one JSON object and nothing else."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _shown(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 120 else f"{flat[:117]}..."
