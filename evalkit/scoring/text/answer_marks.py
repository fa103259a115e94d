r"""Answer marks of multiple-choice answers: "the answer is", "Answer:", \boxed{}, <answer>, "答案：", "选"."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator

from evalkit.scoring.text.normalise import short_blanks

_EMPHASIS = re.compile(r"\*+|`+|^[ \t]*#+[ \t]*|</?(?:b|strong|i|em)>|<[|/][^<>\n]{0,30}>", re.MULTILINE)
_NOTHING_TO_DO = re.compile(r"[A-Za-z0-9 .,()-]*")
# $B$, \text{B}, \mathrm{B}, \textbf{B}, \(B\)
_LATEX = re.compile(r"\\(?:text|textbf|mathrm|mathbf|rm|bf)\s*\{([^{}]*)\}|\$([^$\n]{1,40})\$|\\[()\[\]]")
_ROLE = re.compile(r"^\s*(?:assistant|gpt|model|response)\s*:\s*", re.IGNORECASE)
_BOXED = re.compile(r"\\?boxed\s*\{([^{}]*)\}")
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL | re.IGNORECASE)
_KIND = r"(?:(?:the|my|final|correct|best|right|most (?:likely|appropriate|accurate|suitable)|only)\s+){0,5}"
_SAID = (
    rf"{_KIND}(?:answer|ans\b\.?|option|choice)[\"']?(?:\s+(?:to (?:this|the) question|here|choice|letter))?"
    r"(?:\s*(?:is|would be|should be|must be|will be)\b\s*:?|\s*[:=](?!=)|\s*(?:->|→|⇒)|\s+[-–—]\s|[ \t]*\n+"
    r"|\s+(?=\(?(?-i:[A-Z])\)?\s*(?:[.,:;]|$)))"
)
_CHOSEN = r"\bI(?:\s+would|'d|\s+will|'ll|\s+am|'m)?\s+(?:choose|select|pick|go(?:ing)? (?:with|for)|answer)\b\s*:?"
_ENGLISH = re.compile(rf"(?<![A-Za-z])(?:{_SAID}|{_CHOSEN})", re.IGNORECASE)
_CHINESE = re.compile(
    r"(?<!不是)(?:答案|答)\s*(?:应该|应当|应)?\s*(?:选择|选|是|为)?\s*[:：]?"
    r"|(?<![不可备候待筛挑])选择?\s*[:：]?(?=\s*[(\[（【“\"']?[A-Za-z0-9])"
    r"|正确(?:的)?选项\s*(?:是|为)?\s*[:：]?"
)
# "B is correct", "option B is the right answer"
_PRAISED = re.compile(
    r"(?:^|[\n.;:,])\s*((?:option |choice |answer )?\(?[A-Z]\)?)\s+is\s+(?:the\s+)?(?:correct|best|right)\b"
    r"(?!\s+(?:lung|side))",
    re.IGNORECASE | re.MULTILINE,
)
# "B is the answer", "MRI is the correct answer"
_CALLED = re.compile(
    r"(?:^|[\n.;])[ \t]*([^\n.;]{1,200}?)\s+is\s+the\s+(?:(?:correct|best|right|final)\s+)?(?:answer|option|choice)\b",
    re.IGNORECASE,
)
# "The answer is a" may be cut off before its noun.
_ARTICLE_LEFT = re.compile(r"\b(?:is|be|that)\s*$", re.IGNORECASE)
# "option A or option B", "not option B": the mark is one of several, or of an option that is ruled out.
_ONE_OF_SEVERAL = re.compile(
    r"(?:\b(?:or|and|nor|not|than|of|except|excluding|between)|[/&])\s*(?:the\s+)?$", re.IGNORECASE
)
_BARE = re.compile(r"(?:the\s+)?(?:option|choice)\s+|answer\s+", re.IGNORECASE)
# Bounds for answers that repeat themselves: marks of a kind that are read, characters behind one.
_MARKS_READ = 50
_LONGEST = 2000
_LED_IN = re.compile(
    r"(?:(?:i (?:think|believe|would say|guess)|i'd say|in my opinion|it is|it's|this is|that is|that's|it must be"
    r"|it would be|must be|most likely|likely|probably|sure|well|ok|okay|therefore|thus|so"
    r"|hence)\b[\s,:!]*(?:that\b\s*)?)+",
    re.IGNORECASE,
)


def plain_answer(answer: str) -> str:
    r"""An answer in half-width characters (NFKC) without emphasis, role prefix and LaTeX around single words.

    >>> plain_answer("**Ｂ**"), plain_answer(r"$\text{B}$"), plain_answer("Assistant: B")
    ('B', 'B', 'B')
    """
    answer = short_blanks(answer)
    if _NOTHING_TO_DO.fullmatch(answer):
        return answer.strip()
    text = unicodedata.normalize("NFKC", answer)
    text = _LATEX.sub(lambda m: m[1] or m[2] or "", _EMPHASIS.sub("", text))
    return _ROLE.sub("", _LATEX.sub(lambda m: m[1] or m[2] or "", text)).strip()


def marked_parts(text: str) -> Iterator[str]:
    r"""What follows each answer mark: the rest of its line, or the next line where that is empty.

    >>> [list(marked_parts(text)) for text in ("It is round. The answer is B.", r"so \boxed{C}", "选B")]
    [['B.'], ['C'], ['B']]
    """
    for pattern in (_BOXED, _TAGGED, _PRAISED, _CALLED):
        yield from (part for match in _last(pattern, text) if (part := match[1].strip()))
    for pattern in (_ENGLISH, _CHINESE):
        for match in _last(pattern, text):
            rest = text[match.end() : match.end() + _LONGEST].lstrip()
            # The mark inside of another one is read with that one: "the answer: \boxed{B}", "答案选B".
            if rest == "a" and _ARTICLE_LEFT.search(match[0]):
                continue
            if _BARE.fullmatch(match[0]) and _ONE_OF_SEVERAL.search(text[max(0, match.start() - 20) : match.start()]):
                continue
            if rest and not (_BOXED.match(rest) or rest.startswith(("\\boxed", "<answer>", "</answer>"))):
                yield rest.split("\n", 1)[0].replace("</answer>", "").strip()


def _last(pattern: re.Pattern[str], text: str) -> Iterable[re.Match[str]]:
    """The last matches of a pattern; an answer with more of them repeats itself."""
    return deque(pattern.finditer(text), maxlen=_MARKS_READ)


def without_lead_in(text: str) -> str:
    """An answer without "I think it is" and the like before it.

    >>> without_lead_in("I think it is B"), without_lead_in("Therefore, CT")
    ('B', 'CT')
    """
    found = _LED_IN.match(text)
    if not found:
        return text
    rest = text[found.end() :].strip()
    return "" if rest == "a" else rest
