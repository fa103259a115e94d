"""Reasoning of a model apart from its answer: one place in which the thought in an answer's text is recognised.

Models that think first write their thought into the text: `<think>…</think>`, `[THINK]…[/THINK]`, harmony channels,
MedGemma's `<unused94>…<unused95>` and others.  A thought is not an answer: it weighs possibilities and names most of
them.  It is split off once, where an answer enters (`separate`, called for engines, importers and stored answers), and
kept as `Prediction.reasoning`; `Prediction.raw` keeps the text as it came.

The rule, `split.1`: text inside a pair of marks of one kind is a thought, nested pairs of that kind included; a mark
that a thought quotes, between quotation marks or backticks, is text.  A closing mark without an opening one (the chat
template opened it) makes everything before it a thought.  An opening mark that is never closed is a cut answer: there
is none to score.  A thought with nothing after it is a failure.  `<answer>…</answer>` and `\\boxed{}` are left in
place; they belong to the protocols that read them.  One pass over the text, whatever it contains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from evalkit.core.columns import column_values
from evalkit.core.marked_thoughts import MARK, SplitText, joined_thoughts, read_mark, split_marked
from evalkit.core.packed_predictions import PackedPredictions
from evalkit.core.types import CUT_IN_REASONING, REASONING_ALONE, Prediction

MODES = ("auto", "keep")
RULE = "split.1"

# A text that was cut inside its first mark.
_FIRST_MARKS = (
    "<think>", "<thinking>", "<thought>", "<reasoning>", "<analysis>", "[THINK]", "<unused94>", "◁think▷", "<|channel>",
    "<|begin_of_thought|>", "<|START_THINKING|>", "<|channel|>analysis", "<|start|>assistant<|channel|>analysis",
)  # fmt: skip
_CHANNEL, _ASSISTANT = "<|channel|>", "<|start|>assistant"
_HARMONY = frozenset({_CHANNEL, "<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>"})
# A message of the assistant without a channel is its answer.
_HARMONY_HEAD = re.compile(
    r"<\|channel\|>((?:[^<]|<\|constrain\|>){0,200})<\|message\|>|<\|start\|>assistant<\|message\|>"
)
_HARMONY_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_HARMONY_ANY = re.compile(r"(?:<\|start\|>assistant)|<\|(?:start|message|end|return|call|channel|constrain)\|>")
# Harmony whose special tokens were dropped in decoding: "analysisWe need …assistantfinalCT".
_BARE_HARMONY = re.compile(r"\s*(?:assistant)?analysis")
_BARE_FINAL = "assistantfinal"
# An answer without a thought before it: "finalCT".  No word begins in small letters and goes on in a large one.
_BARE_ANSWER = re.compile(r"\s*final(?=[A-Z\u4e00-\u9fff])")


# Characters of texts whose parts are remembered.
_SHORT = 64


class _Lead(NamedTuple):
    """A thought that starts a text with words of its own and ends where other words begin the answer.

    is_certain: the first words alone show that it is a thought, so that one without an end is cut.
    """

    start: re.Pattern[str]
    end: re.Pattern[str]
    is_certain: bool = True


_LEADS = (
    # HuatuoGPT-o1
    _Lead(
        re.compile(r"\s{0,20}#{1,4} ?Thinking[ \t:]*\n", re.I),
        re.compile(r"^#{1,4} ?Final (?:Response|Answer)[ \t:]*$", re.I | re.M),
    ),
    # Apriel
    _Lead(re.compile(r"\s{0,20}Here are my reasoning steps:?", re.I), re.compile(r"\[BEGIN FINAL RESPONSE\]", re.I)),
    # Ollama's command line
    _Lead(
        re.compile(r"\s{0,20}Thinking\.\.\.[ \t]*\n"), re.compile(r"^[ \t]*\.\.\.done thinking\.?[ \t]*$", re.I | re.M)
    ),
    # Open WebUI
    _Lead(
        re.compile(r"""\s{0,20}<details\s[^<>]{0,300}?type=["']reasoning["'][^<>]{0,300}>""", re.I),
        re.compile(r"</details>", re.I),
    ),
    # LLaVA-CoT: <SUMMARY>, <CAPTION> and <REASONING> before <CONCLUSION>
    _Lead(re.compile(r"\s{0,20}<SUMMARY>", re.I), re.compile(r"<CONCLUSION>", re.I)),
    # Headings that a prompt asks for
    _Lead(
        re.compile(r"\s{0,20}(?:#{1,4} ?Reasoning[ \t:]*\n|\[Reasoning\])", re.I),
        re.compile(r"^#{1,4} ?(?:Final )?Answer[ \t:]*$|\[(?:Final )?Answer\]", re.I | re.M),
        is_certain=False,
    ),
)
_LEAD_TAIL = re.compile(r"\s*(?:</CONCLUSION>|\[END FINAL RESPONSE\])\s*$", re.I)


def split(text: str, *, opened: bool = False, stopped: bool = False) -> SplitText:
    r"""Split a text into answer and reasoning.

    opened: the prompt ended with the opening mark of a thought, so that the text begins inside of it.
    stopped: the text was stopped at its limit, or its thought was closed for the model.  A closing mark that ends it
    then closes a thought; elsewhere one behind an answer is a mark too many.

    >>> split("<think>MRI or CT?</think>\nCT")
    SplitText(answer='CT', reasoning='MRI or CT?', found=True, is_cut=False)
    >>> split("No mass is seen.").found, split("<think>Perhaps CT, but").is_cut
    (False, True)
    """
    return (_split_short if len(text) <= _SHORT else _split)(text, opened, stopped)


def _split(text: str, opened: bool, stopped: bool) -> SplitText:
    if opened:
        return split_marked(text, opened=True, stopped=stopped).found
    if _CHANNEL in text or _ASSISTANT in text:
        return _split_harmony(text)
    if stopped and _is_first_mark(text.strip()):
        return SplitText("", "", True, True)
    return _split_bare(text) or _split_lead(text) or split_marked(text, stopped=stopped).found


# Short texts often come up again.
_split_short = lru_cache(maxsize=1 << 14)(_split)


def answer_start(text: str) -> int:
    """Position behind the last mark that closes a thought; 0 where there is none.

    >>> answer_start("Maybe. ### </think>No ### Human"), answer_start("No ### Human")
    (19, 0)
    """
    return max((m.end() for m in MARK.finditer(text) if read_mark(m).role == "close"), default=0)


def opens_thought(prompt: str) -> bool:
    r"""Whether a rendered prompt ends with the opening mark of a thought, so that the answer begins inside of it.

    >>> opens_thought("<|im_start|>assistant\n<think>\n"), opens_thought("assistant\n<think>\n\n</think>\n\n")
    (True, False)
    """
    return bool(last_opening(prompt))


def last_opening(prompt: str) -> str:
    """The mark with which a rendered prompt ends and opens a thought; "" where it opens none."""
    tail = prompt.rstrip()[-400:]
    marks = list(MARK.finditer(tail))
    is_open = bool(marks) and marks[-1].end() == len(tail) and read_mark(marks[-1]).role == "open"
    return marks[-1][0] if is_open else ""


def open_thought(text: str) -> tuple[str, int]:
    """The mark of the thought that a text leaves open, and how often it is open; "" and 0 where it leaves none open.

    >>> open_thought("<think>MRI</think> CT <thinking>or"), open_thought("<think>a <think>b"), open_thought("CT")
    (('<thinking>', 1), ('<think>', 2), ('', 0))
    """
    marked = split_marked(text)
    return marked.opening, marked.depth


def may_hold_mark(text: str) -> bool:
    """Whether a part of a text may hold a mark of a thought: `split` of the whole text decides."""
    return "<|" in text or _BARE_FINAL in text or MARK.search(text) is not None or any(
        lead.start.match(text) or lead.end.search(text) for lead in _LEADS
    )  # fmt: skip


def is_thought_token(token: str) -> bool:
    """Whether a special token of a tokenizer is a mark of a thought by itself."""
    return token in (_CHANNEL, "<|channel>") or MARK.fullmatch(token) is not None


def belongs_to_marks(token: str) -> bool:
    """Whether a special token is needed to read the marks of a thought: harmony's other tokens too."""
    return token in _HARMONY or is_thought_token(token)


def separate(prediction: Prediction, mode: str = "auto", *, opened: bool = False) -> Prediction:
    """The prediction with its answer and its reasoning apart.

    Idempotent.  The text as it came is kept in `raw` where it holds a thought.

    Args:
        mode: "auto", or "keep" for the text as it came.
        opened: the prompt ended with the opening mark of a thought.
    """
    if mode == "keep":
        return prediction if prediction.raw is None else replace(
            prediction, text=prediction.raw, error=None, raw=None, reasoning=""
        )  # fmt: skip
    text = prediction.text
    if text is None or prediction.raw is not None or prediction.options:  # an option is no text of the model's
        return prediction
    found = split(text, opened=opened, stopped=prediction.finish_reason == "length" or prediction.thought_forced)
    reasoning = "\n\n".join(part for part in (prediction.reasoning, found.reasoning) if part)
    is_empty = not found.answer.strip() and (bool(reasoning) or found.found)
    if found.is_cut or (is_empty and prediction.finish_reason == "length"):
        return replace(prediction, text=None, error=CUT_IN_REASONING, reasoning=reasoning, raw=text)
    if is_empty:
        return replace(prediction, text=None, error=REASONING_ALONE, reasoning=reasoning, raw=text)
    if not found.found:
        return prediction
    return replace(prediction, text=found.answer, reasoning=reasoning, raw=text)


def cut_unmarked(predictions: PackedPredictions, mode: str = "auto") -> int:
    """Change those separated predictions of a run that never leave a thought opened by the template to cut ones.

    A template that opens the thought leaves a closing mark alone in each answer that gets past it.  Where other answers
    of the run have such a mark, one without any mark that was stopped at the limit of new tokens is cut; and so is one
    whose finish reason is not known, where answers with the closing mark are the majority.
    """
    if mode == "keep":
        return 0
    n_inside, unmarked = inside_a_thought(predictions)
    cut_as = {"length", "unknown"} if n_inside > len(unmarked) else {"length"}
    cut = [k for k in unmarked if predictions[k].finish_reason in cut_as]
    for k in cut:
        p = predictions[k]
        predictions[k] = replace(p, text=None, error=CUT_IN_REASONING, reasoning=str(p.text).strip(), raw=p.text)
    return len(cut)


def cut_before_answer(prediction: Prediction, mode: str = "auto") -> Prediction:
    """The separated prediction, as cut where its prompt asks to think under a heading and the answer has none.

    An answer that was stopped at the limit of new tokens before its heading is a thought alone; one that the model
    ended without a heading stays an answer.
    """
    p = prediction
    if mode == "keep" or p.text is None or p.raw is not None or p.finish_reason != "length":
        return p
    return replace(p, text=None, error=CUT_IN_REASONING, reasoning=p.text.strip(), raw=p.text)


def inside_a_thought(predictions: Sequence[Prediction]) -> tuple[int, list[int]]:
    """How many answers have a closing mark without an opening one, and the places of those without any thought."""
    said = zip(column_values(predictions, "text"), column_values(predictions, "raw"), strict=True)
    n = sum(text is not None and raw is not None and _begins_inside(raw) for text, raw in said)
    if not n:
        return 0, []
    return n, [
        k
        for k, p in enumerate(predictions)
        if p.text is not None and p.raw is None and not p.reasoning and p.text.strip()
    ]


def _begins_inside(text: str) -> bool:
    first = MARK.search(text)
    return first is not None and read_mark(first).role == "close"


def _split_lead(text: str) -> SplitText | None:
    """Split a text that starts with the words of a known lead; None for any other."""
    for lead in _LEADS:
        if (start := lead.start.match(text)) is None:
            continue
        ends = list(lead.end.finditer(text, start.end()))
        if ends:
            answer = _LEAD_TAIL.sub("", text[ends[-1].end() :]).lstrip()
            return SplitText(answer, text[start.end() : ends[-1].start()].strip(), True)
        if lead.is_certain:
            return SplitText("", text[start.end() :].strip(), True, True)
    return None


def _split_bare(text: str) -> SplitText | None:
    """Split harmony whose special tokens were dropped; None for any other text."""
    head = _BARE_HARMONY.match(text)
    begin = head.end() if head is not None else 0
    if (end := text.rfind(_BARE_FINAL)) >= 0:
        return SplitText(text[end + len(_BARE_FINAL) :].strip(), text[begin:end].strip(), True)
    if head is not None and text[begin : begin + 1].isalpha():
        return SplitText("", text[begin:].strip(), True, True)
    if (answer := _BARE_ANSWER.match(text)) is not None:
        return SplitText(text[answer.end() :].strip(), "", True)
    return None


def _is_first_mark(text: str) -> bool:
    """Whether a text is the beginning of a thought's first mark and nothing else."""
    return len(text) > 1 and any(len(text) < len(m) and m.lower().startswith(text.lower()) for m in _FIRST_MARKS)


def _split_harmony(text: str) -> SplitText:
    """Split at harmony channels: `final` is the answer, every other channel is reasoning."""
    heads = list(_HARMONY_HEAD.finditer(text))
    thoughts = [_HARMONY_ANY.sub("", text[: heads[0].start() if heads else None])]
    finals: list[str] = []
    is_cut = text.rfind(_CHANNEL) > (heads[-1].start() if heads else -1)
    for head in heads:
        end = _HARMONY_END.search(text, head.end())
        content = text[head.end() : end.start() if end else None]
        if head.group(1) is None or head.group(1).lower().split()[:1] == ["final"]:
            finals.append(content.strip())
        else:
            thoughts.append(content)
            is_cut = is_cut or end is None
    inner = split_marked("\n".join(finals)).found
    is_cut = is_cut or not finals or inner.is_cut
    return SplitText("" if is_cut else inner.answer, joined_thoughts([*thoughts, inner.reasoning]), True, is_cut)
