"""Thoughts between marks that come in pairs: tags, brackets, special tokens.  `evalkit.core.reasoning` has the rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# XML-like tags by kind: a thought ends at a closing tag of its own kind.
_KINDS: Mapping[str, str] = {
    "think": "think", "thinking": "think", "thought": "think", "thoughts": "think", "longcat_think": "think",
    "thinking_process": "think", "thought_process": "think", "chain_of_thought": "think",
    "reasoning": "reasoning", "reason": "reasoning", "rationale": "rationale",
    "analysis": "analysis", "reflection": "reflection", "scratchpad": "scratchpad",
}  # fmt: skip
_PAD = r"\s{0,8}"
# Every quantifier is bounded, so that a text of brackets takes time proportional to its length.
MARK = re.compile(
    rf"""
      (?:[<＜]|&lt;) \|? {_PAD} (?P<tag_close>\\?/)? {_PAD} (?:[a-z]{{1,12}}:)? (?P<tag>{"|".join(_KINDS)})
          (?: \s{{1,8}} [\w:.-]{{1,40}} {_PAD} = [^<>＜＞]{{0,300}}? )? {_PAD} (?P<empty>/)? \|? (?:[>＞]|&gt;)
    | \[ {_PAD} (?P<bracket_close>/)? {_PAD} (?:think|thinking|reasoning) {_PAD} (?P<bracket>\])
    | ◁ {_PAD} (?P<kimi_close>/)? {_PAD} think(?:ing)? {_PAD} (?P<kimi>▷)
    | <unused9(?P<unused>[45])>
    | <\|(?P<block>begin|end)_of_(?P<block_part>thought|solution)\|>
    | <\|(?P<action>start|end)_(?P<action_part>thinking|response)\|>
    | <\|inner_(?P<inner>prefix|suffix)\|>
    | <(?P<working>start|end)_working_out> | <\|thought_(?P<token>start|end)\|>
    | (?P<channel_open><\|channel>)(?=thought|thinking|analysis|[a-z]{{0,8}}\Z)
    | (?P<channel_close><channel\|>)
    """,
    re.X | re.I | re.A,  # without ASCII alone, "ı" and "ſ" would match as letters of a tag that no table has
)
# Signs around a mark that a thought names: "it must end with `</think>`".
_QUOTES = {"`": "`", '"': '"', "'": "'", "“": "”", "‘": "’", "「": "」"}
# The name of the channel, which MedGemma and Gemma write at the start of a thought.
_THOUGHT_HEAD = re.compile(r"\A\s{0,8}(?:thought|thinking|analysis)\s{0,8}\n", re.I)


class SplitText(NamedTuple):
    """A text split into its answer and its reasoning.

    found: whether the text holds any mark of a thought; without one, the answer is the text, unchanged.
    is_cut: the last thought is never closed, so that there is no answer.
    """

    answer: str
    reasoning: str = ""
    found: bool = False
    is_cut: bool = False


class Marked(NamedTuple):
    """A text split at its marks.  opening: the mark of the thought that it leaves open; depth: how often it is open."""

    found: SplitText
    opening: str = ""
    depth: int = 0


class Mark(NamedTuple):
    """A mark of a thought: it opens or closes one of its kind, is an empty thought, or frames the answer."""

    role: Literal["open", "close", "empty", "frame"]
    kind: str


def split_marked(text: str, *, opened: bool = False, stopped: bool = False) -> Marked:
    """Split at marks that come in pairs; opened, stopped: as in `evalkit.core.reasoning.split`."""
    scan = _Scan(text, len(text) - len(text.lstrip()), len(text.rstrip()), stopped, was_opened=opened)
    if opened:
        scan.open = _Open("any", 0)
    found = opened
    for match in MARK.finditer(text):
        if scan.open is not None and not scan.open.is_named and _is_named(text, match):
            continue
        found = True
        if scan.open is None:
            scan.outside(match)
        else:
            scan.inside(scan.open, match)
        scan.last_end = match.end()
    return scan.result() if found else Marked(SplitText(text))


@dataclass(slots=True)
class _Open:
    """A thought that is open.

    kind: of its marks; "any" where the template opened it, or where its mark is named.  start: of its text.  opening:
    its mark.  is_named: its mark stood between quotation signs.  depth: how often it is open.  inner: kinds that are
    open inside a thought of any kind.
    """

    kind: str
    start: int
    opening: str = ""
    is_named: bool = False
    depth: int = 1
    inner: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Scan:
    """State of one pass over the marks of a text.

    first, end: where the text without white space around it begins and ends.  thoughts, pieces: texts inside and
    outside of thoughts so far.  start: of the piece that is being read.  last_end: of the last mark.  was_opened:
    whether any thought has been opened.  n_twice: openings directly behind another one: either of the two closing marks
    may end the thought.
    """

    text: str
    first: int
    end: int
    stopped: bool
    was_opened: bool
    open: _Open | None = None
    thoughts: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    start: int = 0
    last_end: int = 0
    n_twice: int = 0

    def outside(self, match: re.Match[str]) -> None:
        """Take a mark outside of a thought."""
        mark, before = read_mark(match), self.text[self.start : match.start()]
        self.start = match.end()
        if mark.role != "close":
            self.pieces.append(before)
        else:
            is_last = match.end() >= self.end
            if (self.was_opened or self.thoughts) and is_last and not (self.stopped or self.n_twice):
                self.pieces.append(before)  # a closing mark too many, after the answer
            else:
                self.thoughts += [*self.pieces, before]
                self.pieces = [""]
            self.n_twice = max(self.n_twice - 1, 0)
        if mark.role == "open":
            is_named = _is_named(self.text, match)
            # One that is named may stand inside a thought that the template has opened: any mark closes it.
            self.open = _Open("any" if is_named else mark.kind, match.end(), match[0], is_named)
            self.was_opened, self.n_twice = True, 0

    def inside(self, thought: _Open, match: re.Match[str]) -> None:
        """Take a mark inside of a thought."""
        mark = read_mark(match)
        if thought.kind == "any" and mark.role == "open" and match.start() <= self.first:
            # The model opens what the template has opened.
            thought.kind, thought.start, thought.opening, self.n_twice = mark.kind, match.end(), match[0], 1
        elif thought.kind in ("any", mark.kind):
            self._take(thought, mark, match)

    def _take(self, thought: _Open, mark: Mark, match: re.Match[str]) -> None:
        """Take a mark that may open a thought again or close it."""
        if mark.role == "open" and self._is_behind_another(thought, match):
            thought.start, self.n_twice = match.end(), self.n_twice + 1  # opened twice at once
        elif mark.role == "open":
            thought.depth += mark.kind == thought.kind
            thought.inner += [mark.kind] if thought.kind == "any" else []
        elif mark.role == "close" and mark.kind in thought.inner:  # of a pair inside a thought of any kind
            while thought.inner.pop() != mark.kind:
                pass
        else:
            thought.depth -= mark.role == "close"
        if thought.depth == 0 or mark.role == "frame":
            if thought.is_named:
                self.thoughts += self.pieces
                self.pieces = [""]
            self.thoughts.append(self.text[thought.start : match.start()])
            self.open, self.start = None, match.end()

    def _is_behind_another(self, thought: _Open, match: re.Match[str]) -> bool:
        """Whether there is no text between a mark and the opening one of the thought."""
        if self.last_end != thought.start:
            return False
        return not _THOUGHT_HEAD.sub("", self.text[thought.start : match.start()]).strip()

    def result(self) -> Marked:
        """What the marks have split."""
        if (thought := self.open) is not None:
            thoughts = [*self.thoughts, self.text[thought.start :]]
            cut = SplitText("", joined_thoughts(thoughts), True, True)
            return Marked(cut, thought.opening, thought.depth + len(thought.inner))
        answer = _joined([*self.pieces, self.text[self.start :]])
        return Marked(SplitText(answer, joined_thoughts(self.thoughts), True))


def _is_named(text: str, match: re.Match[str]) -> bool:
    """Whether a mark stands alone between quotation signs, as a word of the text.

    The signs must be a pair of their own: in `is "yes"</think>"yes"` each belongs to a word.
    """
    before, after = text[max(match.start() - 2, 0) : match.start()], text[match.end() : match.end() + 2]
    if not before or not after or _QUOTES.get(before[-1]) != after[0]:
        return False
    outside = (before[:-1], after[1:])
    return outside[0] in ("", *" \n\t(（[:：,，。") and not (outside[1].isascii() and outside[1].isalnum())


def read_mark(match: re.Match[str]) -> Mark:
    """Read a mark that MARK has found."""
    group = match.groupdict()
    if group["tag"]:
        if group["empty"]:
            return Mark("empty", "")
        return Mark("close" if group["tag_close"] else "open", _KINDS[group["tag"].lower()])
    if group["bracket"]:
        return Mark("close" if group["bracket_close"] else "open", "bracket")
    if group["kimi"]:
        return Mark("close" if group["kimi_close"] else "open", "kimi")
    if group["unused"]:
        return Mark("open" if group["unused"] == "4" else "close", "unused")
    if group["inner"]:
        return Mark("open" if group["inner"].lower() == "prefix" else "close", "inner")
    for name in ("working", "token"):
        if group[name]:
            return Mark("open" if group[name].lower() == "start" else "close", name)
    for name, answer in (("block", "solution"), ("action", "response")):
        if group[name]:
            if group[f"{name}_part"].lower() == answer:
                return Mark("frame", name)
            return Mark("close" if group[name].lower() == "end" else "open", name)
    return Mark("open" if group["channel_open"] else "close", "channel")


def joined_thoughts(thoughts: list[str]) -> str:
    """Thoughts without the names of their channels, an empty line between them."""
    return "\n\n".join(t for thought in thoughts if (t := _THOUGHT_HEAD.sub("", thought, count=1).strip()))


def _joined(pieces: list[str]) -> str:
    """The answer around its thoughts, without the white space that separated it from them."""
    last = len(pieces) - 1
    parts: list[str] = []
    for k, piece in enumerate(pieces):
        kept = piece.lstrip() if k else piece
        kept = kept.rstrip() if k < last else kept
        if not kept.strip():
            continue
        if parts:
            parts.append("\n" if "\n" in piece[: len(piece) - len(piece.lstrip())] else " ")
        parts.append(kept)
    return "".join(parts)
